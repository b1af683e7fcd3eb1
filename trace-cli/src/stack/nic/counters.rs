//! Which of a driver's counters mean loss.
//!
//! Every driver has names of its own. Those of common drivers are in a table ([`DRIVERS`]), with what they mean; others are
//! judged by the words in them. What the table says goes first, so that it can also clear a name of suspicion.

use serde::Serialize;

use super::drivers::DRIVERS;

/// How a packet was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It came while there was no room for it: ring or FIFO full, or no memory.
    Missed,
    /// It was thrown away.
    Dropped,
    /// It was damaged, or could not be sent.
    Error,
}

impl Loss {
    /// Its name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Dropped => "dropped",
            Self::Error => "error",
        }
    }
}

/// A counter of a driver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Counter {
    /// As the driver calls it; drivers give some names twice.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// It means loss.
    pub loss: Option<Loss>,
    /// What it means, where that is known of this driver.
    pub meaning: Option<&'static str>,
}

impl Counter {
    pub(super) fn new(driver: &str, name: &str, value: u64) -> Self {
        let (loss, meaning) = judge(driver, name);
        Self {
            name: name.to_owned(),
            value,
            loss,
            meaning,
        }
    }
}

/// What a counter means.
pub fn judge(driver: &str, name: &str) -> (Option<Loss>, Option<&'static str>) {
    let known = DRIVERS
        .iter()
        .filter(|(drivers, _)| drivers.contains(&driver))
        .flat_map(|(_, rows)| rows.iter())
        .find(|(pattern, ..)| matches(pattern, name.trim()));
    match known {
        Some((_, loss, meaning)) => (*loss, Some(meaning)),
        None => (by_words(name), None),
    }
}

/// `#` stands for a number, `*` for anything.
fn matches(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix('*') {
        return (0..=name.len())
            .filter(|at| name.is_char_boundary(*at))
            .any(|at| matches(rest, &name[at..]));
    }
    let Some(first) = pattern.chars().next() else {
        return name.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '#' => {
            let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            digits > 0 && matches(rest, &name[digits..])
        }
        first => name
            .strip_prefix(first)
            .is_some_and(|name| matches(rest, name)),
    }
}

/// Judges by the words of a name: what sort of loss, and words that mean it.
const WORDS: [(Loss, &[&str]); 3] = [
    (
        Loss::Missed,
        &[
            "miss",
            "missed",
            "overrun",
            "overruns",
            "overflow",
            "overflows",
            "fifo",
            "nobuf",
            "nobufs",
            "nodesc",
            "oom",
            "oob",
            "starved",
            "no_buf",
            "no_buffer",
            "no_buffers",
            "no_mem",
            "no_memory",
            "no_desc",
            "out_of_buffer",
            "out_of_buffers",
            "no_dma_resources",
            "alloc_fail",
            "alloc_failed",
            "alloc_err",
            "alloc_errors",
            "buff_failed",
            "page_failed",
            "no_space",
        ],
    ),
    (
        Loss::Dropped,
        &[
            "drop",
            "drops",
            "dropped",
            "discard",
            "discards",
            "discarded",
        ],
    ),
    (
        Loss::Error,
        &[
            "err",
            "errs",
            "error",
            "errors",
            "errored",
            "crc",
            "fcs",
            "jabber",
            "jabbers",
            "runt",
            "runts",
            "fail",
            "failed",
            "failure",
            "failures",
            "bad",
            "invalid",
            "corrupt",
            "aborted",
            "underrun",
            "underruns",
            "timeout",
            "timeouts",
            "collision",
            "collisions",
            "malformed",
            "illegal",
        ],
    ),
];
/// Words that clear a name: what follows was meant to be, or did no harm.
const HARMLESS: &[&str] = &[
    "xdp", "fdir", "ptp", "hwtstamp", "cache", "no_error", "ok", "eee", "lpi",
];

fn by_words(name: &str) -> Option<Loss> {
    let name: String = name
        .trim()
        .chars()
        .map(|c| {
            if c.is_ascii_alphabetic() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let name = format!("_{name}_");
    let has = |word: &&&str| {
        let at = name.match_indices(**word);
        at.into_iter().any(|(at, word)| {
            name.as_bytes().get(at.wrapping_sub(1)) == Some(&b'_')
                && name.as_bytes().get(at + word.len()) == Some(&b'_')
        })
    };
    if HARMLESS.iter().any(|word| has(&word)) {
        return None;
    }
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| has(&word)))
        .map(|(loss, _)| *loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("rx#_drops", "rx12_drops", true),
            ("rx#_drops", "rx_drops", false),
            ("*rx_discards", "[3]: rx_discards", true),
            ("*_dropped_pkt[#]", "rx_dropped_pkt[0]", true),
            ("rx", "rx_", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn words_of_drivers_that_nobody_described() {
        for (name, loss) in [
            ("rx_dropped", Some(Loss::Dropped)),
            ("RxQueue3-Discards", Some(Loss::Dropped)),
            ("rx_no_buffer_count", Some(Loss::Missed)),
            ("rx_fifo_errors", Some(Loss::Missed)),
            ("alloc_rx_buff_failed", Some(Loss::Missed)),
            ("rx_crc_errors", Some(Loss::Error)),
            ("tx_timeout_count", Some(Loss::Error)),
            ("mac.rx.badfcs", None),
            ("rx_packets", None),
            ("rx_xdp_drop", None),
            ("tx_terror", None),
            ("", None),
        ] {
            assert_eq!(by_words(name), loss, "{name}");
        }
    }

    #[test]
    fn common_drivers_are_understood() {
        for (driver, name, loss) in [
            ("virtio_net", "rx0_drops", Some(Loss::Dropped)),
            ("virtio_net", "rx_queue_0_drops", Some(Loss::Dropped)),
            ("virtio_net", "rx0_xdp_drops", None),
            ("virtio_net", "tx1_tx_timeouts", Some(Loss::Error)),
            ("virtio_net", "rx0_kicks", None),
            ("e1000e", "rx_missed_errors", Some(Loss::Missed)),
            ("igb", "rx_queue_3_drops", Some(Loss::Missed)),
            ("ixgbe", "rx_no_dma_resources", Some(Loss::Missed)),
            ("ixgbe", "fdir_miss", None),
            ("i40e", "port.rx_dropped", Some(Loss::Missed)),
            ("ice", "rx_dropped.nic", Some(Loss::Missed)),
            ("mlx5_core", "rx_out_of_buffer", Some(Loss::Missed)),
            ("mlx5_core", "rx_discards_phy", Some(Loss::Missed)),
            ("mlx5_core", "tx_queue_stopped", None),
            ("ena", "bw_in_allowance_exceeded", Some(Loss::Dropped)),
            ("ena", "queue_2_rx_page_alloc_fail", Some(Loss::Missed)),
            ("gve", "rx_dropped_pkt[4]", Some(Loss::Dropped)),
            ("bnxt_en", "[0]: rx_discards", Some(Loss::Missed)),
            ("r8169", "rx_missed", Some(Loss::Missed)),
            ("tg3", "rx_discards", Some(Loss::Missed)),
            ("vmxnet3", "  pkts rx OOB", Some(Loss::Missed)),
            ("hv_netvsc", "tx_no_memory", Some(Loss::Missed)),
            ("hv_netvsc", "stop_queue", None),
            ("veth", "rx_queue_0_drops", Some(Loss::Dropped)),
            ("veth", "peer_ifindex", None),
        ] {
            assert_eq!(judge(driver, name).0, loss, "{driver} {name}");
        }
    }

    #[test]
    fn the_table_names_each_driver_once_and_says_what_it_means() {
        let mut seen = std::collections::BTreeSet::new();
        for (drivers, rows) in DRIVERS {
            for driver in *drivers {
                assert!(seen.insert(driver), "{driver}");
            }
            for (pattern, _, meaning) in *rows {
                assert!(!pattern.is_empty() && meaning.len() > 10, "{pattern}");
            }
        }
    }
}
