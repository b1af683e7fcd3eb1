//! What the demonstration sends: a few packets of each kind, and a few that cannot arrive.

use crate::lab::{
    LabError, Router, faults,
    traffic::{http, icmp, tcp::Service, udp, udp::Flow},
};

/// One kind of traffic.
pub(super) struct Step {
    /// Told to the user.
    pub what: &'static str,
    /// Makes it.
    pub make: fn(&Router) -> Result<(), LabError>,
    /// Cannot be made without nftables.
    pub needs_nft: bool,
}

const HTTP: u16 = 80;
const SYSLOG: u16 = 514;
/// Port on the router that nobody listens to.
const CLOSED: u16 = 33_434;

const fn step(what: &'static str, make: fn(&Router) -> Result<(), LabError>) -> Step {
    Step {
        what,
        make,
        needs_nft: false,
    }
}

/// All of it, in order.
pub(super) const STEPS: &[Step] = &[
    step("HTTP: a asks the router 20 times", |lab| {
        let to = (lab.addresses.v4(0, 254), HTTP).into();
        http::get(&Service::listen_on(&lab.a, &lab.router, to)?, 20, 4_000)
    }),
    step("UDP: a sends the router 50 datagrams", |lab| {
        let (from, _) = lab.v4();
        let to = (lab.addresses.v4(0, 254), SYSLOG).into();
        Flow::open_to(&lab.a, from, &lab.router, to)?.deliver_within(1, 50, 200)
    }),
    step("ping: a pings the router 5 times", |lab| {
        icmp::ping(&lab.a, lab.addresses.v4(0, 254).into(), 5, 56)
    }),
    step(
        "IPv6: a asks the router 10 times by HTTP, and pings it",
        |lab| {
            let to = lab.addresses.v6(0, 254);
            let service = Service::listen_on(&lab.a, &lab.router, (to, HTTP).into())?;
            http::get(&service, 10, 1_000)?;
            icmp::ping(&lab.a, to.into(), 5, 56)
        },
    ),
    step(
        "forwarding: a sends b 50 datagrams, through the router",
        |lab| {
            let (from, to) = lab.v4();
            Flow::open_to(&lab.a, from, &lab.b, (to, SYSLOG).into())?.deliver_within(1, 50, 200)
        },
    ),
    step(
        "drops: a closed port, a time to live that ends at the router, a missing route",
        |lab| {
            let (from, _) = lab.v4();
            let socket = udp::socket(&lab.a, from)?;
            socket
                .connect((lab.addresses.v4(0, 254), CLOSED))
                .map_err(LabError::io("connect"))?;
            udp::send(&socket, 3, 32);
            faults::ttl_exceeded(lab, false, 3)?;
            faults::no_route(lab, false, 3)?;
            Ok(())
        },
    ),
    Step {
        what: "drops: an nft rule on the router",
        make: |lab| faults::nft_forward(lab, 3).map(drop),
        needs_nft: true,
    },
];
