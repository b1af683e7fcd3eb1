//! Queues and NAPI settings of an interface, from `/sys/class/net/<interface>` (`net/core/net-sysfs.c`).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Interface;
use crate::stack::files::{names, read as text, value};

/// How an interface's packets are spread over CPUs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Napi {
    /// NAPI polls in kernel threads instead of softirqs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threaded: Option<bool>,
    /// Time that GRO may hold packets back beyond a poll, in ns; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gro_flush_timeout_ns: Option<u64>,
    /// Empty polls before interrupts are switched on again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defer_hard_irqs: Option<u64>,
    /// Receive queues, in order.
    pub receive: Vec<ReceiveQueue>,
    /// Transmit queues, in order.
    pub transmit: Vec<TransmitQueue>,
}

/// A receive queue.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReceiveQueue {
    /// CPUs that its packets are spread to (RPS), as the kernel writes the mask; nothing but zeros is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps_cpus: Option<String>,
    /// Flows that RFS remembers for it; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps_flow_count: Option<u64>,
}

/// A transmit queue.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TransmitQueue {
    /// CPUs that send into it (XPS), as the kernel writes the mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xps_cpus: Option<String>,
    /// Times that the watchdog found it stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u64>,
    /// Bytes that byte queue limits let the device have at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Bytes that the device has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_bytes: Option<u64>,
}

impl ReceiveQueue {
    /// Whether its packets are spread to other CPUs.
    pub fn rps(&self) -> bool {
        let mask = self.rps_cpus.as_deref().unwrap_or_default();
        mask.chars().any(|digit| !matches!(digit, '0' | ','))
    }
}

/// Whether this `/sys/class/net` is that of these interfaces' namespace: sysfs shows the one that it was mounted in.
pub(super) fn shows(class: &Path, interfaces: &[Interface]) -> bool {
    let same = |interface: &Interface| {
        let folder = class.join(&interface.name);
        let address = text(&folder.join("address")).ok();
        value(&folder.join("ifindex")) == Some(interface.index)
            && address.as_deref().map(str::trim) == interface.address.as_deref().or(Some(""))
    };
    // Files such as `bonding_masters` are there as well.
    let shown = names(class)
        .into_iter()
        .filter(|name| class.join(name).join("ifindex").exists());
    shown.count() == interfaces.len() && interfaces.iter().all(same)
}

pub(super) fn read(interface: &Path) -> Napi {
    let queues = interface.join("queues");
    let number_of = |name: &str, prefix| {
        name.strip_prefix(prefix)
            .and_then(|n| n.parse::<u32>().ok())
    };
    let folders = |prefix: &'static str| {
        let mut folders: Vec<_> = names(&queues)
            .into_iter()
            .filter_map(|name| Some((number_of(&name, prefix)?, queues.join(&name))))
            .collect();
        folders.sort_unstable();
        folders.into_iter().map(|(_, folder)| folder)
    };
    let line = |path: &Path| Some(text(path).ok()?.trim().to_owned());
    Napi {
        // 2 is busy polling by the thread, of Linux 6.18.
        threaded: value::<u8>(&interface.join("threaded")).map(|threaded| threaded != 0),
        gro_flush_timeout_ns: value(&interface.join("gro_flush_timeout")),
        defer_hard_irqs: value(&interface.join("napi_defer_hard_irqs")),
        receive: folders("rx-")
            .map(|queue| ReceiveQueue {
                rps_cpus: line(&queue.join("rps_cpus")),
                rps_flow_count: value(&queue.join("rps_flow_cnt")),
            })
            .collect(),
        transmit: folders("tx-")
            .map(|queue| TransmitQueue {
                xps_cpus: line(&queue.join("xps_cpus")),
                timeouts: value(&queue.join("tx_timeout")),
                limit_bytes: value(&queue.join("byte_queue_limits/limit")),
                in_flight_bytes: value(&queue.join("byte_queue_limits/inflight")),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn queues_in_order_and_whose_sysfs_it_is() {
        let class = tempfile::tempdir().unwrap();
        let eth0 = class.path().join("eth0");
        for queue in ["rx-0", "rx-2", "rx-10", "tx-0"] {
            fs::create_dir_all(eth0.join("queues").join(queue)).unwrap();
        }
        let put = |name: &str, text: &str| fs::write(eth0.join(name), text).unwrap();
        put("ifindex", "4\n");
        put("address", "02:00:00:00:00:01\n");
        put("threaded", "1\n");
        put("queues/rx-2/rps_cpus", "0,00000003\n");
        put("queues/rx-10/rps_cpus", "00\n");
        let napi = read(&eth0);
        assert_eq!(napi.threaded, Some(true));
        let rps: Vec<bool> = napi.receive.iter().map(ReceiveQueue::rps).collect();
        assert_eq!(rps, [false, true, false]);
        assert_eq!(napi.receive[1].rps_cpus.as_deref(), Some("0,00000003"));
        assert_eq!(napi.transmit.len(), 1);

        let mut interface = Interface {
            index: 4,
            name: "eth0".to_owned(),
            address: Some("02:00:00:00:00:01".to_owned()),
            ..Interface::default()
        };
        assert!(shows(class.path(), std::slice::from_ref(&interface)));
        assert!(!shows(class.path(), &[]));
        interface.address = Some("02:00:00:00:00:02".to_owned());
        assert!(!shows(class.path(), &[interface]));
    }
}
