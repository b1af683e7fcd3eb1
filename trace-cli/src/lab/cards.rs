//! Two real network cards on one wire, each in a namespace of its own: the whole way from interrupt to transmit
//! completion. (In a virtual machine: two virtio cards on a hub.)

use std::net::IpAddr;

use super::{Addresses, LabError, Netns, topology};

/// Variable that names the two cards, with a comma between. They must be free to be taken.
pub const VARIABLE: &str = "PKTJOURNEY_NICS";

/// Two namespaces, each with one card. The cards go back where they came from.
#[derive(Debug)]
pub struct Cards {
    /// Host 1.
    pub a: Netns,
    /// Host 2.
    pub b: Netns,
    /// Names of the cards.
    pub names: [String; 2],
    /// Wire 0 is in use.
    pub addresses: Addresses,
}

impl Cards {
    /// Takes the cards that [`VARIABLE`] names; `None` when it names none.
    pub fn take(addresses: Addresses) -> Result<Option<Self>, LabError> {
        let Ok(list) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let Some((first, second)) = list.split_once(',') else {
            return Err(LabError::Traffic(format!(
                "{VARIABLE}={list} does not name two cards"
            )));
        };
        let cards = Self {
            a: Netns::new("a")?,
            b: Netns::new("b")?,
            names: [first.trim().to_owned(), second.trim().to_owned()],
            addresses,
        };
        let sides = [(&cards.a, 1), (&cards.b, 2)];
        for (name, (netns, host)) in cards.names.iter().zip(sides) {
            super::run("ip", &["link", "set", name, "netns", netns.name()], "")?;
            netns.ip(&addresses.lines(0, host, name))?;
        }
        topology::introduce(
            (&cards.a, &cards.names[0], 1),
            (&cards.b, &cards.names[1], 2),
            &addresses,
            0,
        )?;
        Ok(Some(cards))
    }

    /// IPv4 addresses of `a` and `b`.
    pub const fn v4(&self) -> (IpAddr, IpAddr) {
        (
            IpAddr::V4(self.addresses.v4(0, 1)),
            IpAddr::V4(self.addresses.v4(0, 2)),
        )
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        // To where process 1 lives; the namespace would take them along only after a while.
        for (name, netns) in self.names.iter().zip([&self.a, &self.b]) {
            let _ = netns.ip(&format!("link set {name} netns 1\n"));
        }
    }
}
