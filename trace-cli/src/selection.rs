//! Which journeys count: the filter expression and its companions, applied to whole journeys.

use crate::{
    config::Selection,
    dictionary::Dictionary,
    filter::{Direction as Way, Network, Subject},
    journey::model::{Direction, Flow, Journey, Outcome},
    kernel::netns::is,
};

/// Whether the journey is one that was asked for.
pub fn selects(selection: &Selection, journey: &Journey, names: &Dictionary) -> bool {
    if selection.only_drops && journey.outcome != Outcome::Dropped {
        return false;
    }
    if u128::from(journey.total) < selection.min_latency.as_nanos() {
        return false;
    }
    let interfaces: Vec<&str> = journey
        .legs
        .iter()
        .flat_map(|leg| {
            [leg.input, leg.output]
                .into_iter()
                .flatten()
                .filter_map(|index| names.interface(leg.netns, index))
        })
        .collect();
    if let Some(wanted) = &selection.interface
        && !interfaces.contains(&wanted.as_str())
    {
        return false;
    }
    let netns: Vec<(u32, Option<&str>)> = journey
        .legs
        .iter()
        .map(|leg| (leg.netns, names.namespace(leg.netns)))
        .collect();
    if !selection.netns.is_empty()
        && !selection
            .netns
            .iter()
            .any(|wanted| in_namespace(wanted, &netns))
    {
        return false;
    }
    if selection.filter.matches_all() {
        return true;
    }
    let processes = [&journey.sender, &journey.receiver];
    let processes: Vec<_> = processes.into_iter().flatten().collect();
    let flows: Vec<Option<&Flow>> = match &journey.flow {
        Some(flow) => std::iter::once(flow)
            .chain(&journey.rewrites)
            .map(Some)
            .collect(),
        None => vec![None],
    };
    flows.iter().any(|flow| {
        let subject = |process: Option<(u32, &str)>| {
            let subject = Subject {
                ether_type: journey.ether_type,
                network: flow.map(|flow| {
                    if flow.source.is_ipv4() {
                        Network::V4
                    } else {
                        Network::V6
                    }
                }),
                protocol: flow.map(|flow| flow.protocol),
                src: flow.map(|flow| flow.source),
                dst: flow.map(|flow| flow.destination),
                src_port: flow.and_then(|flow| flow.ports).map(|ports| ports.0),
                dst_port: flow.and_then(|flow| flow.ports).map(|ports| ports.1),
                len: journey.len,
                direction: match journey.direction {
                    Direction::Receive => Way::Receive,
                    Direction::Transmit => Way::Transmit,
                    Direction::Forward => Way::Forward,
                    Direction::Loop => Way::Loop,
                },
                netns: &netns,
                interfaces: &interfaces,
                pid: process.map(|process| process.0),
                process: process.map(|process| process.1),
            };
            selection.filter.matches(&subject)
        };
        // a packet between two processes belongs to both
        if processes.is_empty() {
            subject(None)
        } else {
            processes.iter().any(|process| {
                let id = if process.tgid != 0 {
                    process.tgid
                } else {
                    process.pid
                };
                subject(Some((id, &process.name)))
            })
        }
    })
}

fn in_namespace(wanted: &str, netns: &[(u32, Option<&str>)]) -> bool {
    let mut all = netns.iter();
    all.any(|&(inode, name)| is(wanted, inode, name))
}
