//! Bounded traffic over a veth pair. One thread is both ends: nobody waits for anybody, so that its CPU time is all that the packets
//! cost, and is the same in each round. The receive path runs inside `send()`, as it does on any veth.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use anyhow::{Result, bail};
use pktjourney::lab::{
    Pair, counters,
    traffic::{tcp::Service, udp},
};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

/// Datagrams in a row before they are read: few enough for any socket's buffer.
const BURST: u64 = 16;
/// Bytes of a bulk `send()`.
const CHUNK: usize = 64 * 1024;

/// One kind of traffic.
#[derive(Deserialize)]
pub struct Load {
    pub name: String,
    pub kind: Kind,
    /// Datagrams, requests, or chunks of 64 KiB a round.
    pub count: u64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 64-byte datagrams.
    Udp,
    /// A request of 64 bytes and an answer of 64, on one connection.
    Tcp,
    /// As much as goes.
    Bulk,
}

/// What a round took.
pub struct Took {
    /// That the two devices sent.
    pub packets: u64,
    /// The sending calls alone; the receive path up to the socket is inside them.
    pub sent_cpu_ns: u64,
    /// The sending and the reading calls.
    pub cpu_ns: u64,
    pub wall_ns: u64,
}

enum Ends {
    Udp(UdpSocket, UdpSocket),
    Tcp(TcpStream, TcpStream),
    Bulk(TcpStream, TcpStream),
}

/// Open sockets in both namespaces.
pub struct Line<'a> {
    pair: &'a Pair,
    ends: Ends,
}

impl<'a> Line<'a> {
    pub fn open(pair: &'a Pair, load: &Load) -> Result<Self> {
        let (a, b) = pair.v4();
        let ends = match load.kind {
            Kind::Udp => {
                let (sender, receiver) = (udp::socket(&pair.a, a)?, udp::socket(&pair.b, b)?);
                sender.connect(receiver.local_addr()?)?;
                Ends::Udp(sender, receiver)
            }
            Kind::Tcp | Kind::Bulk => {
                let service = Service::listen(&pair.a, &pair.b, b)?;
                let (client, server) = service.connect()?;
                match load.kind {
                    Kind::Bulk => {
                        client.set_nonblocking(true)?;
                        server.set_nonblocking(true)?;
                        Ends::Bulk(client, server)
                    }
                    _ => Ends::Tcp(client, server),
                }
            }
        };
        Ok(Self { pair, ends })
    }

    /// Packets that both devices have sent.
    fn packets(&self) -> Result<u64> {
        let (_, a) = counters::device(&self.pair.a, "a0")?;
        let (_, b) = counters::device(&self.pair.b, "b0")?;
        Ok(a + b)
    }

    pub fn run(&self, count: u64) -> Result<Took> {
        let before = self.packets()?;
        let mut clock = Clock::start();
        match &self.ends {
            Ends::Udp(sender, receiver) => datagrams(sender, receiver, count, &mut clock)?,
            Ends::Tcp(client, server) => requests(client, server, count, &mut clock)?,
            Ends::Bulk(client, server) => bulk(client, server, count, &mut clock)?,
        }
        let (sent_cpu_ns, read_cpu_ns, wall_ns) = clock.end();
        Ok(Took {
            packets: self.packets()? - before,
            sent_cpu_ns,
            cpu_ns: sent_cpu_ns + read_cpu_ns,
            wall_ns,
        })
    }
}

fn datagrams(
    sender: &UdpSocket,
    receiver: &UdpSocket,
    count: u64,
    clock: &mut Clock,
) -> Result<()> {
    let payload = [b'x'; 64];
    let mut buffer = [0; 128];
    let mut left = count;
    while left > 0 {
        let burst = left.min(BURST);
        for _ in 0..burst {
            sender.send(&payload)?;
        }
        clock.sent();
        for _ in 0..burst {
            receiver.recv(&mut buffer)?;
        }
        clock.read();
        left -= burst;
    }
    Ok(())
}

fn requests(
    mut client: &TcpStream,
    mut server: &TcpStream,
    count: u64,
    clock: &mut Clock,
) -> Result<()> {
    let payload = [b'x'; 64];
    let mut buffer = [0; 64];
    for _ in 0..count {
        client.write_all(&payload)?;
        clock.sent();
        server.read_exact(&mut buffer)?;
        clock.read();
        server.write_all(&payload)?;
        clock.sent();
        client.read_exact(&mut buffer)?;
        clock.read();
    }
    Ok(())
}

fn bulk(
    mut client: &TcpStream,
    mut server: &TcpStream,
    chunks: u64,
    clock: &mut Clock,
) -> Result<()> {
    let payload = vec![b'x'; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let total = chunks * CHUNK as u64;
    let (mut sent, mut read) = (0, 0);
    while read < total {
        if sent < total {
            let rest = usize::try_from(total - sent).map_or(CHUNK, |rest| rest.min(CHUNK));
            match client.write(&payload[..rest]) {
                Ok(bytes) => sent += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        clock.sent();
        loop {
            match server.read(&mut buffer) {
                Ok(0) => bail!("the connection broke off after {read} bytes"),
                Ok(bytes) => read += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        clock.read();
    }
    Ok(())
}

/// This thread's CPU time, in two sums.
struct Clock {
    begun: Instant,
    last: u64,
    sending: u64,
    reading: u64,
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Clock {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            last: thread_ns(),
            sending: 0,
            reading: 0,
        }
    }

    /// What passed since the last call was sending.
    fn sent(&mut self) {
        let now = thread_ns();
        self.sending += now - self.last;
        self.last = now;
    }

    /// … was reading.
    fn read(&mut self) {
        let now = thread_ns();
        self.reading += now - self.last;
        self.last = now;
    }

    fn end(self) -> (u64, u64, u64) {
        let wall = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        (self.sending, self.reading, wall)
    }
}
