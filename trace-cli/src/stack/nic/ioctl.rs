//! Who drives a device, and the driver's own counters: what ethtool's netlink does not give, by its `ioctl()`
//! (`include/uapi/linux/ethtool.h`).
//!
//! The kernel writes as many counters as the driver has at that moment, however many there is room for. So it writes into
//! memory of its own, behind which lies a page that nothing can be written to: what is too long fails.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

use rustix::{
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};
use serde::Serialize;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;
const GET_SETS: u32 = 0x37;
/// `ETH_SS_STATS`: the names of counters.
const SET_STATISTICS: u32 = 1;
/// `ETH_GSTRING_LEN`.
const NAME: usize = 32;

/// Room for the longest answer: so many names, with what goes before them.
const MOST: usize = 1 << 16;
const ROOM: usize = MOST * NAME + PAGE;
/// A multiple of every architecture's page size.
const PAGE: usize = 1 << 16;
/// A driver may get another number of counters between the two questions (a change of its channels).
const ATTEMPTS: usize = 3;

/// Who drives a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its version: for most, the kernel's.
    pub version: Option<String>,
    /// The firmware's.
    pub firmware: Option<String>,
    /// Where the device is, such as a PCI address.
    pub bus: Option<String>,
}

/// A socket for such questions, in the namespace of the thread that opened it, and room for answers.
#[derive(Debug)]
pub(super) struct Ethtool {
    socket: OwnedFd,
    room: NonNull<u8>,
}

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // SAFETY: without an address asked for, a mapping of its own takes nothing from anybody.
        let room = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                ROOM + PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let room = NonNull::new(room.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let this = Self { socket, room };
        // SAFETY: the last page of our own mapping; no reference into it is ever made.
        unsafe {
            mprotect(room.add(ROOM).as_ptr().cast(), PAGE, MprotectFlags::empty())?;
        }
        Ok(this)
    }

    /// Asks about a device; gives the memory in which the answer is.
    fn ask(&mut self, device: &str, request: &[u32]) -> io::Result<&[u8]> {
        let name = device.as_bytes();
        if name.len() >= libc::IFNAMSIZ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the mapping is ours, `ROOM` bytes of it can be written, all of them are set, and `self` is borrowed mutably.
        let room = unsafe { slice::from_raw_parts_mut(self.room.as_ptr(), ROOM) };
        let begin = request.iter().flat_map(|word| word.to_ne_bytes());
        // The longest answer that is not counted is `struct ethtool_drvinfo`.
        for (to, from) in room.iter_mut().zip(begin.chain([0; 256])) {
            *to = from;
        }
        // SAFETY: for this plain C structure zeros are values.
        let mut parameters: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in parameters.ifr_name.iter_mut().zip(name) {
            *to = from.cast_signed() as libc::c_char;
        }
        parameters.ifr_ifru.ifru_data = self.room.as_ptr().cast();
        // SAFETY: the kernel reads and writes `parameters`, and from `ifru_data` on nothing but the mapping: behind it lies
        // a page at which it fails.
        let done = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                SIOCETHTOOL as _,
                ptr::from_mut(&mut parameters),
            )
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; the kernel has written what it had to.
        Ok(unsafe { slice::from_raw_parts(self.room.as_ptr(), ROOM) })
    }

    /// Who drives a device.
    pub(super) fn driver(&mut self, device: &str) -> io::Result<Driver> {
        let answer = self.ask(device, &[GET_DRIVER])?;
        let text = |number: usize| {
            let field = answer.get(4 + number * 32..4 + (number + 1) * 32);
            Some(crate::kernel::netlink::text(field?))
                .filter(|text| !matches!(text.as_str(), "" | "N/A" | "n/a"))
        };
        Ok(Driver {
            name: text(0).unwrap_or_default(),
            version: text(1),
            firmware: text(2),
            bus: text(3),
        })
    }

    /// The driver's counters, in its order; `None` if they changed in number each time that we looked.
    pub(super) fn statistics(&mut self, device: &str) -> io::Result<Option<Vec<(String, u64)>>> {
        for _ in 0..ATTEMPTS {
            // The mask, of which bits are asked for, has 64 bits.
            let [low, high] = halves(1 << SET_STATISTICS);
            let sets = self.ask(device, &[GET_SETS, 0, low, high])?;
            let count = if word(sets, 8) == 0 && word(sets, 12) == 0 {
                0
            } else {
                word(sets, 16)
            };
            let length = usize::try_from(count).unwrap_or(usize::MAX);
            if length == 0 {
                return Ok(Some(Vec::new()));
            }
            if length > MOST {
                return Err(io::Error::other(format!("{count} counters are too many")));
            }
            let answer = self.ask(device, &[GET_STRINGS, SET_STATISTICS, count])?;
            if word(answer, 8) != count {
                continue;
            }
            let names: Vec<String> = answer[12..12 + length * NAME]
                .chunks_exact(NAME)
                .map(crate::kernel::netlink::text)
                .collect();
            let answer = self.ask(device, &[GET_STATISTICS, count])?;
            if word(answer, 4) != count {
                continue;
            }
            let values = answer[8..8 + length * 8]
                .chunks_exact(8)
                .filter_map(crate::kernel::netlink::u64);
            return Ok(Some(names.into_iter().zip(values).collect()));
        }
        Ok(None)
    }
}

impl Drop for Ethtool {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, as long as this, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.room.as_ptr().cast(), ROOM + PAGE) };
    }
}

/// A 64-bit number as two of 32 bits, as they lie in memory.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}

fn word(answer: &[u8], offset: usize) -> u32 {
    answer
        .get(offset..offset + 4)
        .and_then(crate::kernel::netlink::u32)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_such_device() {
        let mut ethtool = Ethtool::open().unwrap();
        for device in ["pj-no-such", "a name that is longer than any"] {
            assert!(ethtool.driver(device).is_err());
            assert!(ethtool.statistics(device).is_err());
        }
    }
}
