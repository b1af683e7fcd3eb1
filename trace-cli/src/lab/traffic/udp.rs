//! UDP: a sender that never overruns its receiver, and one that does on purpose.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::PATIENCE;
use crate::lab::{LabError, Netns};

/// Datagrams that may be under way: far below what any socket buffer or qdisc holds.
const WINDOW: u64 = 64;

/// A connected sender in one namespace and a receiver in another.
#[derive(Debug)]
pub struct Flow {
    /// Connected to the receiver.
    pub sender: UdpSocket,
    /// Bound; nobody reads it but who calls us.
    pub receiver: UdpSocket,
}

impl Flow {
    /// Opens both ends, on ports that the kernel chooses.
    pub fn open(
        from: &Netns,
        source: IpAddr,
        to: &Netns,
        destination: IpAddr,
    ) -> Result<Self, LabError> {
        Self::open_to(from, source, to, (destination, 0).into())
    }

    /// Opens both ends, the receiver on a port of our choice (0: the kernel's).
    pub fn open_to(
        from: &Netns,
        source: IpAddr,
        to: &Netns,
        destination: SocketAddr,
    ) -> Result<Self, LabError> {
        let receiver = bound(to, destination)?;
        let sender = socket(from, source)?;
        let address = address(&receiver)?;
        sender
            .connect(address)
            .map_err(LabError::io(format!("connect to {address}")))?;
        Ok(Self { sender, receiver })
    }

    /// Port that the datagrams go to.
    pub fn port(&self) -> Result<u16, LabError> {
        address(&self.receiver).map(|address| address.port())
    }

    /// Sends `count` datagrams of `bytes`, while a second thread reads each as it comes; so few are unread at any
    /// time that none is dropped. `Ok` says that all were read, in order.
    pub fn deliver(&self, count: u64, bytes: usize) -> Result<(), LabError> {
        self.deliver_within(WINDOW, count, bytes)
    }

    /// … with at most `window` datagrams unread at any time.
    pub fn deliver_within(&self, window: u64, count: u64, bytes: usize) -> Result<(), LabError> {
        let read = AtomicU64::new(0);
        thread::scope(|scope| {
            let reader = thread::Builder::new()
                .name("reader".to_owned())
                .spawn_scoped(scope, || self.read(count, &read))
                .map_err(LabError::io("start a thread"))?;
            let mut sent = 0;
            let mut payload = vec![0; bytes.max(8)];
            let mut progress = (Instant::now(), 0);
            while sent < count && !reader.is_finished() {
                let arrived = read.load(Ordering::Acquire);
                if sent - arrived >= window {
                    if arrived != progress.1 {
                        progress = (Instant::now(), arrived);
                    } else if progress.0.elapsed() > PATIENCE {
                        break;
                    }
                    thread::yield_now();
                    continue;
                }
                payload[..8].copy_from_slice(&sent.to_be_bytes());
                self.sender
                    .send(&payload)
                    .map_err(LabError::io("send a datagram"))?;
                sent += 1;
            }
            reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Reads `count` datagrams and checks their numbers.
    fn read(&self, count: u64, read: &AtomicU64) -> Result<(), LabError> {
        let mut buffer = vec![0; 1 << 16];
        for expected in 0..count {
            let length = self
                .receiver
                .recv(&mut buffer)
                .map_err(LabError::io(format!("read datagram {expected} of {count}")))?;
            let number = buffer[..length]
                .first_chunk()
                .map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
            if number != expected {
                return Err(LabError::Traffic(format!(
                    "datagram {number} came in the place of {expected}"
                )));
            }
            read.store(expected + 1, Ordering::Release);
        }
        Ok(())
    }

    /// Sends `count` datagrams and reads none; a refusal (full buffer, ICMP answer, filter) does not stop it.
    /// The answer is how many `send()` accepted.
    pub fn send_unread(&self, count: u64, bytes: usize) -> u64 {
        send(&self.sender, count, bytes)
    }

    /// Reads what is there, without waiting longer than `quiet` for more: how many datagrams.
    pub fn drain(&self, quiet: Duration) -> Result<u64, LabError> {
        let waited = |result: io::Result<()>| result.map_err(LabError::io("set a time-out"));
        waited(self.receiver.set_read_timeout(Some(quiet)))?;
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        while self.receiver.recv(&mut buffer).is_ok() {
            count += 1;
        }
        waited(self.receiver.set_read_timeout(Some(PATIENCE)))?;
        Ok(count)
    }

    /// Sends as fast as it goes for `duration`, while a second thread reads all it can: (sent, read).
    pub fn flood(&self, duration: Duration, bytes: usize) -> Result<(u64, u64), LabError> {
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut read = 0;
                let mut buffer = vec![0; 1 << 16];
                // An empty datagram ends it.
                while self
                    .receiver
                    .recv(&mut buffer)
                    .is_ok_and(|length| length > 0)
                {
                    read += 1;
                }
                read
            });
            let payload = vec![0; bytes.max(1)];
            let end = Instant::now() + duration;
            let mut sent = 0;
            while Instant::now() < end {
                for _ in 0..32 {
                    sent += u64::from(self.sender.send(&payload).is_ok());
                }
            }
            // The buffer may be full, so the end is said until it is heard.
            while !reader.is_finished() {
                let _ = self.sender.send(&[]);
                thread::sleep(Duration::from_millis(20));
            }
            let read = reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((sent, read))
        })
    }
}

/// Sends `count` datagrams over a connected socket; the answer is how many were accepted.
pub fn send(socket: &UdpSocket, count: u64, bytes: usize) -> u64 {
    let payload = vec![0; bytes];
    let mut accepted = 0;
    for _ in 0..count {
        // What ICMP answered to an earlier datagram is reported once, by a call that then sends nothing.
        let _ = socket.take_error();
        accepted += match socket.send(&payload) {
            Err(error) if reported(&error) => u64::from(socket.send(&payload).is_ok()),
            result => u64::from(result.is_ok()),
        };
    }
    accepted
}

/// Whether an error can be an ICMP answer's.
fn reported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    ) || error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// A socket bound to an address of the namespace, on a port that the kernel chooses.
pub fn socket(netns: &Netns, address: IpAddr) -> Result<UdpSocket, LabError> {
    bound(netns, (address, 0).into())
}

fn bound(netns: &Netns, address: SocketAddr) -> Result<UdpSocket, LabError> {
    netns.enter(|| {
        let socket =
            UdpSocket::bind(address).map_err(LabError::io(format!("bind to {address}")))?;
        socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
            .map_err(LabError::io("set a time-out"))?;
        Ok(socket)
    })
}

/// Where a socket is bound.
fn address(socket: &UdpSocket) -> Result<SocketAddr, LabError> {
    socket
        .local_addr()
        .map_err(LabError::io("ask for a socket's address"))
}
