//! A packet's headers. Field names are OpenTelemetry's where it has one.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

use crate::aggregate::drops::FiveTuple;
use crate::journey::model::Flow;
use crate::sink::names;

#[derive(Serialize)]
pub(super) struct FlowRecord {
    #[serde(rename = "network.type")]
    network: &'static str,
    #[serde(rename = "network.transport")]
    transport: Cow<'static, str>,
    #[serde(rename = "source.address")]
    source: IpAddr,
    #[serde(rename = "source.port", skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(rename = "destination.address")]
    destination: IpAddr,
    #[serde(rename = "destination.port", skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(rename = "ip.protocol")]
    protocol: u8,
    #[serde(flatten)]
    headers: Option<Headers>,
}

/// What differs from packet to packet of a flow.
#[derive(Serialize)]
struct Headers {
    #[serde(rename = "ip.ttl")]
    ttl: u8,
    #[serde(rename = "ip.id", skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(rename = "ip.fragment_offset", skip_serializing_if = "Option::is_none")]
    fragment_offset: Option<u16>,
    #[serde(rename = "ip.more_fragments", skip_serializing_if = "Option::is_none")]
    more_fragments: Option<bool>,
    #[serde(rename = "tcp.flags", skip_serializing_if = "Option::is_none")]
    tcp_flags: Option<Vec<&'static str>>,
    #[serde(rename = "tcp.seq", skip_serializing_if = "Option::is_none")]
    tcp_seq: Option<u32>,
    #[serde(rename = "tcp.ack", skip_serializing_if = "Option::is_none")]
    tcp_ack: Option<u32>,
    #[serde(rename = "tcp.payload", skip_serializing_if = "Option::is_none")]
    tcp_payload: Option<u32>,
    #[serde(rename = "icmp.type", skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(rename = "icmp.code", skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
}

/// A packet's.
pub(super) fn of_packet(flow: &Flow) -> FlowRecord {
    FlowRecord {
        headers: Some(Headers {
            ttl: flow.ttl,
            id: flow.ip_id,
            fragment_offset: flow.fragment.map(|(offset, _)| offset),
            more_fragments: flow.fragment.map(|(_, more)| more),
            tcp_flags: flow.tcp.map(|tcp| names::tcp_flags(tcp.flags).collect()),
            tcp_seq: flow.tcp.map(|tcp| tcp.seq),
            tcp_ack: flow.tcp.map(|tcp| tcp.ack),
            tcp_payload: flow.tcp.map(|tcp| tcp.payload),
            icmp_type: flow.icmp.map(|(kind, _)| kind),
            icmp_code: flow.icmp.map(|(_, code)| code),
        }),
        ..of_flow(flow.into())
    }
}

/// What all packets of a flow have in common.
pub(super) fn of_flow(flow: FiveTuple) -> FlowRecord {
    FlowRecord {
        network: if flow.source.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        },
        transport: names::protocol(flow.protocol),
        source: flow.source,
        source_port: flow.ports.map(|(source, _)| source),
        destination: flow.destination,
        destination_port: flow.ports.map(|(_, destination)| destination),
        protocol: flow.protocol,
        headers: None,
    }
}
