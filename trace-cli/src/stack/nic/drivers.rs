//! What counters of common drivers mean: from the drivers' sources (`drivers/net/`) and their documents
//! (`Documentation/networking/device_drivers/ethernet/`).

use super::counters::Loss::{self, Dropped, Error, Missed};

/// A pattern of names, what sort of loss they count (`None`: none, whatever they sound like), and what they mean.
type Row = (&'static str, Option<Loss>, &'static str);

const NO_DESCRIPTOR: &str =
    "came while the receive ring had no free buffer: the CPU is too slow, or the ring too small";
const NO_FIFO: &str = "came while the device's own FIFO was full: bus, interrupt or CPU too slow";
const NO_MEMORY: &str = "no memory for a receive buffer";
const CHECKSUM: &str = "the device found a checksum wrong; the stack looks again";
const HUNG: &str = "the transmit queue hung and was reset";
const SIZE: &str = "frame too short or too long";
const CRC: &str = "damaged on the wire: cable, transceiver or port";

/// Counters by driver, as `ethtool -i` names drivers. The first pattern that fits counts.
pub(super) const DRIVERS: &[(&[&str], &[Row])] = &[
    (
        &["virtio_net"],
        &[
            ("rx_drops", Some(Dropped), "of all queues together"),
            ("tx_tx_timeouts", Some(Error), "of all queues together"),
            (
                "tx*_xdp_tx_drops",
                Some(Dropped),
                "an XDP program wanted to send it, and could not",
            ),
            ("rx#_xdp_drops", None, "an XDP program's decision"),
            ("rx_queue_#_xdp_drops", None, "an XDP program's decision"),
            (
                "rx#_hw_drop_overruns",
                Some(Missed),
                "the host had no buffer of ours for it",
            ),
            ("rx#_hw_drops", Some(Dropped), "dropped by the host"),
            (
                "rx#_drops",
                Some(Dropped),
                "came in a form that the driver refuses, or without memory for it",
            ),
            (
                "rx_queue_#_drops",
                Some(Dropped),
                "came in a form that the driver refuses, or without memory for it",
            ),
            ("tx#_hw_drops", Some(Dropped), "dropped by the host"),
            ("tx#_tx_timeouts", Some(Error), HUNG),
            ("tx_queue_#_tx_timeouts", Some(Error), HUNG),
        ],
    ),
    (
        &["veth"],
        &[
            (
                "rx_queue_#_drops",
                Some(Dropped),
                "no memory, or an XDP program failed on it",
            ),
            ("rx_queue_#_xdp_drops", None, "an XDP program's decision"),
            (
                "rx_queue_#_xdp_tx_errors",
                Some(Error),
                "an XDP program wanted to send it back, and could not",
            ),
            (
                "tx_queue_#_xdp_xmit_errors",
                Some(Error),
                "XDP could not hand it to the peer: its ring was full",
            ),
        ],
    ),
    (
        &["e1000e", "e1000", "igb", "igc"],
        &[
            ("rx_missed_errors", Some(Missed), NO_FIFO),
            ("rx_no_buffer_count", Some(Missed), NO_DESCRIPTOR),
            ("rx_queue_#_drops", Some(Missed), NO_DESCRIPTOR),
            ("rx_queue_#_csum_err", Some(Error), CHECKSUM),
            ("rx_queue_#_alloc_failed", Some(Missed), NO_MEMORY),
            ("alloc_rx_buff_failed", Some(Missed), NO_MEMORY),
            ("rx_csum_offload_errors", Some(Error), CHECKSUM),
            ("rx_crc_errors", Some(Error), CRC),
            ("rx_align_errors", Some(Error), CRC),
            ("rx_*length_errors", Some(Error), SIZE),
            ("rx_length_errors", Some(Error), SIZE),
            ("rx_fifo_errors", Some(Missed), NO_FIFO),
            ("tx_timeout_count", Some(Error), HUNG),
            (
                "dropped_smbus",
                Some(Dropped),
                "meant for the management controller, which had no room",
            ),
            (
                "uncorr_ecc_errors",
                Some(Error),
                "the device's memory is damaged",
            ),
            (
                "corr_ecc_errors",
                None,
                "errors in the device's memory that it corrected",
            ),
            (
                "tx_hwtstamp_timeouts",
                None,
                "transmit time stamps that did not come",
            ),
        ],
    ),
    (
        &["ixgbe", "ixgbevf"],
        &[
            ("rx_missed_errors", Some(Missed), NO_FIFO),
            ("rx_no_buffer_count", Some(Missed), NO_DESCRIPTOR),
            ("rx_no_dma_resources", Some(Missed), NO_DESCRIPTOR),
            ("alloc_rx_page_failed", Some(Missed), NO_MEMORY),
            ("alloc_rx_buff_failed", Some(Missed), NO_MEMORY),
            ("rx_csum_offload_errors", Some(Error), CHECKSUM),
            ("rx_crc_errors", Some(Error), CRC),
            ("rx_fifo_errors", Some(Missed), NO_FIFO),
            ("rx_length_errors", Some(Error), SIZE),
            ("rx_long_length_errors", Some(Error), SIZE),
            ("rx_short_length_errors", Some(Error), SIZE),
            ("tx_timeout_count", Some(Error), HUNG),
            ("fdir_miss", None, "no rule of the flow director fitted"),
            ("fdir_overflow", None, "the flow director's table is full"),
            ("fcoe_*", None, "storage over Ethernet"),
            (
                "tx_hwtstamp_timeouts",
                None,
                "transmit time stamps that did not come",
            ),
        ],
    ),
    (
        &["i40e", "ice", "iavf"],
        &[
            ("port.rx_dropped", Some(Missed), NO_FIFO),
            ("rx_dropped.nic", Some(Missed), NO_FIFO),
            ("rx_dropped", Some(Missed), NO_DESCRIPTOR),
            ("rx_discards", Some(Missed), NO_DESCRIPTOR),
            (
                "veb.rx_discards",
                Some(Dropped),
                "the device's own switch dropped it",
            ),
            (
                "veb.tx_discards",
                Some(Dropped),
                "the device's own switch dropped it",
            ),
            (
                "port.tx_dropped_link_down",
                Some(Dropped),
                "sent while the link was down",
            ),
            (
                "tx_dropped_link_down.nic",
                Some(Dropped),
                "sent while the link was down",
            ),
            ("rx_alloc_fail", Some(Missed), NO_MEMORY),
            ("rx_pg_alloc_fail", Some(Missed), NO_MEMORY),
            ("*rx_csum_bad*", Some(Error), CHECKSUM),
            ("*rx_crc_errors*", Some(Error), CRC),
            (
                "*mac_local_faults*",
                Some(Error),
                "the link's signal was lost on our side",
            ),
            (
                "*mac_remote_faults*",
                Some(Error),
                "the link's signal was lost on the peer's side",
            ),
            ("*illegal_bytes*", Some(Error), CRC),
            ("*rx_undersize*", Some(Error), SIZE),
            ("*rx_oversize*", Some(Error), SIZE),
            ("*rx_fragments*", Some(Error), CRC),
            ("*rx_jabber*", Some(Error), CRC),
            ("*tx_timeout*", Some(Error), HUNG),
            (
                "tx_busy",
                None,
                "the transmit ring was full; the packet waited in the qdisc",
            ),
        ],
    ),
    (
        &["mlx5_core"],
        &[
            ("rx_out_of_buffer", Some(Missed), NO_DESCRIPTOR),
            ("dev_out_of_buffer", Some(Missed), NO_DESCRIPTOR),
            (
                "dev_internal_queue_oob",
                Some(Missed),
                "a queue inside the device had no buffer",
            ),
            (
                "rx_discards_phy",
                Some(Missed),
                "came while the port's buffer was full: bus or CPU too slow",
            ),
            (
                "rx_prio#_discards",
                Some(Missed),
                "came while this priority's buffer was full",
            ),
            (
                "rx_prio#_buf_discard",
                Some(Missed),
                "came while this priority's buffer was full",
            ),
            (
                "rx_prio#_cong_discard",
                Some(Dropped),
                "dropped by congestion control of this priority",
            ),
            (
                "rx_steer_missed_packets",
                Some(Dropped),
                "no steering rule took it",
            ),
            (
                "rx_if_down_packets",
                Some(Dropped),
                "came while the interface was down",
            ),
            ("rx_oversize_pkts_sw_drop", Some(Dropped), SIZE),
            ("rx#_oversize_pkts_sw_drop", Some(Dropped), SIZE),
            ("rx*_buff_alloc_err", Some(Missed), NO_MEMORY),
            ("rx_buff_alloc_err", Some(Missed), NO_MEMORY),
            ("rx#_buff_alloc_err", Some(Missed), NO_MEMORY),
            (
                "*wqe_err",
                Some(Error),
                "the device could not use a receive descriptor",
            ),
            (
                "tx_queue_dropped",
                Some(Dropped),
                "the driver could not send it",
            ),
            ("tx#_dropped", Some(Dropped), "the driver could not send it"),
            ("tx#_cqe_err", Some(Error), "the device failed to send"),
            ("tx_cqe_err", Some(Error), "the device failed to send"),
            ("tx_discards_phy", Some(Dropped), "the port did not send it"),
            ("tx_errors_phy", Some(Error), "the port failed to send it"),
            ("rx_crc_errors_phy", Some(Error), CRC),
            ("rx_in_range_len_errors_phy", Some(Error), SIZE),
            ("rx_out_of_range_len_phy", Some(Error), SIZE),
            ("rx_oversize_pkts_phy", Some(Error), SIZE),
            ("rx_undersize_pkts_phy", Some(Error), SIZE),
            ("rx_jabbers_phy", Some(Error), CRC),
            ("rx_fragments_phy", Some(Error), CRC),
            ("rx_symbol_err_phy", Some(Error), CRC),
            ("rx_pcs_symbol_err_phy", Some(Error), CRC),
            (
                "rx_corrected_bits_phy",
                None,
                "bits that error correction repaired",
            ),
            ("rx_err_lane_#_phy", Some(Error), CRC),
            ("link_down_events_phy", Some(Error), "the link went down"),
            (
                "tx_queue_stopped",
                None,
                "the transmit ring was full; packets waited in the qdisc",
            ),
            ("*arfs_err", None, "a flow could not be steered to its CPU"),
            ("*recover", None, "a queue that hung was repaired"),
            ("rx_vport_rdma_*", None, "RDMA, which passes the stack by"),
        ],
    ),
    (
        &["ena"],
        &[
            (
                "bw_in_allowance_exceeded",
                Some(Dropped),
                "more came than this instance may receive, in bits a second",
            ),
            (
                "bw_out_allowance_exceeded",
                Some(Dropped),
                "more was sent than this instance may, in bits a second",
            ),
            (
                "pps_allowance_exceeded",
                Some(Dropped),
                "more packets a second than this instance may have",
            ),
            (
                "conntrack_allowance_exceeded",
                Some(Dropped),
                "more connections than the host tracks for this instance",
            ),
            (
                "linklocal_allowance_exceeded",
                Some(Dropped),
                "too many packets a second to DNS, time or metadata service",
            ),
            (
                "conntrack_allowance_available",
                None,
                "connections that the host could still track",
            ),
            ("rx_overruns", Some(Missed), NO_DESCRIPTOR),
            ("rx_drops", Some(Missed), NO_DESCRIPTOR),
            ("tx_drops", Some(Dropped), "the device did not send it"),
            ("queue_#_rx_page_alloc_fail", Some(Missed), NO_MEMORY),
            ("queue_#_rx_skb_alloc_fail", Some(Missed), NO_MEMORY),
            (
                "queue_#_rx_refil_partial",
                Some(Missed),
                "the receive ring could not be filled up",
            ),
            ("queue_#_rx_csum_bad", Some(Error), CHECKSUM),
            ("queue_#_rx_bad_csum", Some(Error), CHECKSUM),
            (
                "queue_#_rx_bad_desc_num",
                Some(Error),
                "the device gave a bad descriptor",
            ),
            (
                "queue_#_rx_bad_req_id",
                Some(Error),
                "the device gave a bad descriptor",
            ),
            ("queue_#_rx_xdp_drop", None, "an XDP program's decision"),
            (
                "queue_#_tx_missed_tx",
                Some(Error),
                "the device was late to say that it sent",
            ),
            (
                "queue_#_tx_dma_mapping_err",
                Some(Error),
                "no memory could be lent to the device",
            ),
            (
                "queue_#_tx_prepare_ctx_err",
                Some(Error),
                "the driver could not describe a packet to the device",
            ),
            ("tx_timeout", Some(Error), HUNG),
            (
                "wd_expired",
                Some(Error),
                "the device stopped answering and was reset",
            ),
        ],
    ),
    (
        &["gve"],
        &[
            (
                "rx_dropped_pkt[#]",
                Some(Dropped),
                "dropped by driver or device",
            ),
            (
                "rx_dropped_pkt",
                Some(Dropped),
                "dropped by driver or device",
            ),
            (
                "tx_dropped_pkt[#]",
                Some(Dropped),
                "the driver could not send it",
            ),
            (
                "tx_dropped_pkt",
                Some(Dropped),
                "the driver could not send it",
            ),
            ("rx_queue_drop_cnt[#]", Some(Missed), NO_DESCRIPTOR),
            ("rx_no_buffers_posted[#]", Some(Missed), NO_DESCRIPTOR),
            ("rx_drops_packet_over_mru[#]", Some(Dropped), SIZE),
            (
                "rx_drops_invalid_checksum[#]",
                Some(Dropped),
                "dropped for a wrong checksum",
            ),
            ("rx_skb_alloc_fail*", Some(Missed), NO_MEMORY),
            ("rx_buf_alloc_fail*", Some(Missed), NO_MEMORY),
            (
                "rx_desc_err_dropped_pkt*",
                Some(Dropped),
                "the device gave a bad descriptor",
            ),
            ("tx_timeouts", Some(Error), HUNG),
            ("tx_timeout_cnt", Some(Error), HUNG),
            ("rx_xdp_drop[#]", None, "an XDP program's decision"),
        ],
    ),
    (
        &["bnxt_en"],
        &[
            ("[#]: rx_discards", Some(Missed), NO_DESCRIPTOR),
            ("[#]: rx_drops", Some(Missed), NO_DESCRIPTOR),
            (
                "[#]: rx_errors",
                Some(Error),
                "damaged, or of a form that the device refuses",
            ),
            (
                "[#]: tx_discards",
                Some(Dropped),
                "the device did not send it",
            ),
            ("[#]: tx_drops", Some(Dropped), "the device did not send it"),
            ("[#]: tx_errors", Some(Error), "the device failed to send"),
            ("[#]: rx_l4_csum_errors", Some(Error), CHECKSUM),
            (
                "[#]: rx_buf_errors",
                Some(Error),
                "the device had trouble with a receive buffer",
            ),
            (
                "[#]: missed_irqs",
                None,
                "interrupts that the driver found by looking",
            ),
            ("rx_total_oom_discards", Some(Missed), NO_MEMORY),
            (
                "rx_total_netpoll_discards",
                Some(Dropped),
                "dropped while the console was polling the device",
            ),
            ("rx_total_ring_discards", Some(Missed), NO_DESCRIPTOR),
            (
                "tx_total_ring_discards",
                Some(Dropped),
                "the device did not send it",
            ),
            ("rx_fcs_err_frames", Some(Error), CRC),
            (
                "rx_stat_discard",
                Some(Missed),
                "came while the port's buffer was full",
            ),
            ("rx_stat_err", Some(Error), CRC),
            ("tx_stat_discard", Some(Dropped), "the port did not send it"),
            ("tx_stat_error", Some(Error), "the port failed to send it"),
            (
                "rx_corrected_bits",
                None,
                "bits that error correction repaired",
            ),
            ("link_down_events", Some(Error), "the link went down"),
        ],
    ),
    (
        &["r8169"],
        &[
            ("rx_missed", Some(Missed), NO_FIFO),
            ("rx_errors", Some(Error), CRC),
            ("align_errors", Some(Error), CRC),
            ("tx_errors", Some(Error), "the device failed to send"),
            ("tx_aborted", Some(Error), "the device gave up sending"),
            (
                "tx_underrun",
                Some(Error),
                "data did not come fast enough for the wire",
            ),
        ],
    ),
    (
        &["tg3"],
        &[
            ("rx_discards", Some(Missed), NO_FIFO),
            (
                "rx_errors",
                Some(Error),
                "damaged, or of a form that the device refuses",
            ),
            ("rx_threshold_hit", None, "packets enough for an interrupt"),
            ("rxbds_empty", Some(Missed), NO_DESCRIPTOR),
            ("rx_fcs_errors", Some(Error), CRC),
            ("rx_align_errors", Some(Error), CRC),
            ("rx_frame_too_long_errors", Some(Error), SIZE),
            ("rx_undersize_packets", Some(Error), SIZE),
            ("rx_jabbers", Some(Error), CRC),
            ("rx_fragments", Some(Error), CRC),
            ("tx_discards", Some(Dropped), "the device did not send it"),
            ("tx_errors", Some(Error), "the device failed to send"),
            ("dma_writeq_full", None, "the device waited for the bus"),
            (
                "mbuf_lwm_thresh_hit",
                Some(Missed),
                "the device's own buffers ran low",
            ),
        ],
    ),
    (
        &["vmxnet3"],
        &[
            ("pkts rx OOB", Some(Missed), NO_DESCRIPTOR),
            (
                "pkts rx err",
                Some(Error),
                "damaged, or of a form that the host refuses",
            ),
            (
                "drv dropped rx total",
                Some(Dropped),
                "the driver dropped it",
            ),
            ("rx buf alloc fail", Some(Missed), NO_MEMORY),
            (
                "drv dropped tx total",
                Some(Dropped),
                "the driver could not send it",
            ),
            (
                "too many frags",
                Some(Dropped),
                "in more pieces than a descriptor takes",
            ),
            (
                "giant hdr",
                Some(Dropped),
                "its headers are longer than the device takes",
            ),
            ("hdr err", Some(Dropped), "its headers could not be read"),
            ("pkts tx err", Some(Error), "the host failed to send"),
            ("pkts tx discard", Some(Dropped), "the host did not send it"),
            (
                "ring full",
                None,
                "the transmit ring was full; the packet waited in the qdisc",
            ),
            ("xdp drops", None, "an XDP program's decision"),
            ("tx timeout count", Some(Error), HUNG),
            ("err", Some(Error), "of these, damaged"),
            ("fcs", Some(Error), CRC),
        ],
    ),
    (
        &["hv_netvsc"],
        &[
            ("tx_no_memory", Some(Missed), "no memory to send it"),
            ("rx_no_memory", Some(Missed), NO_MEMORY),
            (
                "tx_no_space",
                Some(Dropped),
                "it is in more pieces than fit",
            ),
            ("tx_too_big", Some(Dropped), SIZE),
            ("tx_busy", Some(Dropped), "the host took no more"),
            (
                "tx_send_full",
                None,
                "the copy area was full; the packet was sent otherwise",
            ),
            (
                "rx_comp_busy",
                None,
                "the host was told later that a packet was read",
            ),
            (
                "vf_tx_dropped",
                Some(Dropped),
                "the virtual function could not send it",
            ),
            ("vlan_error", Some(Error), "a VLAN tag could not be set"),
            ("rx_queue_#_xdp_drop", None, "an XDP program's decision"),
        ],
    ),
];
