//! Network cards: how they are set, what they can do, and what their drivers count.
//!
//! Settings come by the `ethtool` netlink family. We read its attributes ourselves: ethtool 0.3 is asynchronous, and knows
//! neither link state nor port.

mod bits;
mod counters;
mod drivers;
mod features;
mod growth;
mod ioctl;
mod link;
mod settings;

use std::collections::BTreeMap;

use serde::Serialize;

pub use counters::{Counter, Loss, judge};
pub use features::Feature;
pub use ioctl::Driver;
pub use link::Link;
pub use settings::{Channels, Coalescing, Pause, Rings};

use super::SectionError;
use crate::kernel::{
    netlink::{self, Family, NetlinkError},
    netns,
};

/// What the section is called.
pub const SECTION: &str = "nic";

/// `ETHTOOL_MSG_*_GET`.
mod command {
    pub(super) const LINK_INFO: u8 = 2;
    pub(super) const LINK_MODES: u8 = 4;
    pub(super) const LINK_STATE: u8 = 6;
    pub(super) const FEATURES: u8 = 11;
    pub(super) const RINGS: u8 = 15;
    pub(super) const CHANNELS: u8 = 17;
    pub(super) const COALESCING: u8 = 19;
    pub(super) const PAUSE: u8 = 21;
}
/// `ETHTOOL_A_*_HEADER` and what is in it: `ETHTOOL_A_HEADER_DEV_INDEX`.
const HEADER: u16 = 1;
const DEVICE: u16 = 1;

/// The section.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Nics {
    /// All interfaces, by index.
    pub devices: Vec<Nic>,
    /// What could not be read of them.
    pub missing: Vec<SectionError>,
}

/// An interface. What its driver does not have is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Nic {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Who drives it.
    pub driver: Option<Driver>,
    /// Its link.
    pub link: Option<Link>,
    /// Ring sizes.
    pub rings: Option<Rings>,
    /// Queues.
    pub channels: Option<Channels>,
    /// Interrupt coalescing.
    pub coalescing: Option<Coalescing>,
    /// Flow control.
    pub pause: Option<Pause>,
    /// Offloads.
    pub features: Option<BTreeMap<String, Feature>>,
    /// The driver's own counters, in its order.
    pub counters: Option<Vec<Counter>>,
}

/// Reads the interfaces of the calling thread's network namespace.
///
/// # Errors
/// If the interfaces cannot be listed.
pub fn read() -> Result<Nics, SectionError> {
    let interfaces = netns::interfaces()
        .map_err(|error| SectionError::new(SECTION, "interfaces", error.to_string()))?;
    let mut missing = Vec::new();
    let mut reader = Reader {
        netlink: Family::find("ethtool", 1)
            .map_err(|error| {
                missing.push(SectionError::new(SECTION, "settings", error.to_string()))
            })
            .ok(),
        ioctl: ioctl::Ethtool::open()
            .map_err(|error| missing.push(SectionError::io(SECTION, "drivers", &error)))
            .ok(),
        missing,
    };
    let devices = interfaces
        .into_iter()
        .map(|(index, name)| reader.read(index, name))
        .collect();
    Ok(Nics {
        devices,
        missing: reader.missing,
    })
}

struct Reader {
    netlink: Option<Family>,
    ioctl: Option<ioctl::Ethtool>,
    missing: Vec<SectionError>,
}

impl Reader {
    fn read(&mut self, index: u32, name: String) -> Nic {
        let mut get = |command, what| self.get(command, what, index, &name);
        let modes = get(command::LINK_MODES, "link modes");
        let info = get(command::LINK_INFO, "port");
        let state = get(command::LINK_STATE, "link state");
        let link = (modes.is_some() || info.is_some() || state.is_some()).then(|| {
            let mut link = Link::default();
            link.modes(&modes.unwrap_or_default());
            link.info(&info.unwrap_or_default());
            link.state(&state.unwrap_or_default());
            link
        });
        let rings = get(command::RINGS, "rings").map(|answer| Rings::parse(&answer));
        let channels = get(command::CHANNELS, "channels").map(|answer| Channels::parse(&answer));
        let coalescing =
            get(command::COALESCING, "coalescing").map(|answer| Coalescing::parse(&answer));
        let pause = get(command::PAUSE, "pause").map(|answer| Pause::parse(&answer));
        let features = get(command::FEATURES, "offloads").map(|answer| features::parse(&answer));
        let (driver, counters) = self.driver(&name);
        Nic {
            index,
            name,
            driver,
            link,
            rings,
            channels,
            coalescing,
            pause,
            features,
            counters,
        }
    }

    /// Asks about a device. What its driver does not have is not missing.
    fn get(&mut self, command: u8, what: &str, index: u32, name: &str) -> Option<Vec<u8>> {
        let mut header = Vec::new();
        netlink::push(&mut header, DEVICE, &index.to_ne_bytes());
        let mut request = Vec::new();
        netlink::push_nested(&mut request, HEADER, &header);
        match self.netlink.as_mut()?.get(command, &request) {
            Ok(answer) => Some(answer),
            Err(error) => {
                if !is_not_there(error.errno()) {
                    self.lacks(what, name, &error);
                }
                None
            }
        }
    }

    fn driver(&mut self, name: &str) -> (Option<Driver>, Option<Vec<Counter>>) {
        let Some(ioctl) = &mut self.ioctl else {
            return (None, None);
        };
        let driver = match ioctl.driver(name) {
            Ok(driver) => Some(driver),
            Err(error) if is_not_there(error.raw_os_error()) => None,
            Err(error) => {
                let what = format!("driver of {name}");
                self.missing.push(SectionError::io(SECTION, what, &error));
                None
            }
        };
        let counters = match ioctl.statistics(name) {
            Ok(Some(counters)) => counters,
            Err(error) if is_not_there(error.raw_os_error()) => return (driver, None),
            Ok(None) => {
                let why = "their number changed again and again";
                let what = format!("driver counters of {name}");
                self.missing.push(SectionError::new(SECTION, what, why));
                return (driver, None);
            }
            Err(error) => {
                let what = format!("driver counters of {name}");
                self.missing.push(SectionError::io(SECTION, what, &error));
                return (driver, None);
            }
        };
        let by = driver.as_ref().map_or("", |driver| driver.name.as_str());
        let counters = counters
            .iter()
            .map(|(name, value)| Counter::new(by, name, *value));
        let counters: Vec<Counter> = counters.collect();
        (driver, (!counters.is_empty()).then_some(counters))
    }

    fn lacks(&mut self, what: &str, name: &str, error: &NetlinkError) {
        let missing = SectionError::new(SECTION, format!("{what} of {name}"), error.to_string());
        self.missing.push(match error.errno() {
            Some(libc::EPERM | libc::EACCES) => missing.remedy("run it as root"),
            _ => missing,
        });
    }
}

/// The driver has no such thing, or the device went away meanwhile.
const fn is_not_there(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::EOPNOTSUPP | libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lo_has_offloads_and_no_rings() {
        let read = read().unwrap();
        let lo = read.devices.iter().find(|nic| nic.name == "lo").unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(lo.rings, None);
        let features = lo.features.as_ref().unwrap();
        assert!(features["loopback"].on && !features["loopback"].changeable);
    }
}
