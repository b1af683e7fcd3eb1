//! TCP: connections with a request and an answer, a reader that takes its time, and bulk data.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::PATIENCE;
use crate::lab::{LabError, Netns};

/// A listening socket in one namespace, and the namespace that connects to it.
#[derive(Debug)]
pub struct Service<'lab> {
    client: &'lab Netns,
    listener: TcpListener,
    address: SocketAddr,
}

impl<'lab> Service<'lab> {
    /// Listens on `address` of `server`, on a port that the kernel chooses.
    pub fn listen(client: &'lab Netns, server: &Netns, address: IpAddr) -> Result<Self, LabError> {
        Self::listen_on(client, server, (address, 0).into())
    }

    /// Listens on an address and port of `server`.
    pub fn listen_on(
        client: &'lab Netns,
        server: &Netns,
        address: SocketAddr,
    ) -> Result<Self, LabError> {
        let listener = server.enter(|| {
            TcpListener::bind(address).map_err(LabError::io(format!("listen on {address}")))
        })?;
        let address = listener
            .local_addr()
            .map_err(LabError::io("ask for a socket's address"))?;
        Ok(Self {
            client,
            listener,
            address,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens one connection: (the client's end, the server's end).
    pub fn connect(&self) -> Result<(TcpStream, TcpStream), LabError> {
        let client = self.client.enter(|| {
            TcpStream::connect_timeout(&self.address, PATIENCE)
                .map_err(LabError::io(format!("connect to {}", self.address)))
        })?;
        let (server, _) = self
            .listener
            .accept()
            .map_err(LabError::io("accept a connection"))?;
        for end in [&client, &server] {
            bounded(end).map_err(LabError::io("set up a connection"))?;
        }
        Ok((client, server))
    }

    /// `count` connections, one after the other: the client sends `request` bytes, the server waits `delay`
    /// before it reads them, answers `answer` bytes, which the client reads at once; then both close. Says how
    /// many answers took as long as `delay` although nobody waited on purpose.
    pub fn requests(
        &self,
        count: usize,
        request: usize,
        answer: usize,
        delay: Duration,
    ) -> Result<usize, LabError> {
        let mut slow = 0;
        for _ in 0..count {
            let (mut client, mut server) = self.connect()?;
            let took = exchange(&mut client, &mut server, request, answer, delay)
                .map_err(LabError::io("a request and its answer"))?;
            slow += usize::from(took >= delay);
        }
        Ok(slow)
    }

    /// Sends `bytes` over one connection, read as they come.
    pub fn bulk(&self, bytes: u64) -> Result<(), LabError> {
        let (mut client, mut server) = self.connect()?;
        let (sent, read) = thread::scope(|scope| {
            let reader = scope.spawn(move || io::copy(&mut server, &mut io::sink()));
            let sent = io::copy(&mut io::repeat(b'x').take(bytes), &mut client);
            drop(client);
            let read = reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sent, read)
        });
        let (sent, read) = (
            sent.map_err(LabError::io("send bulk data"))?,
            read.map_err(LabError::io("read bulk data"))?,
        );
        if (sent, read) == (bytes, bytes) {
            Ok(())
        } else {
            Err(LabError::Traffic(format!(
                "of {bytes} bytes {sent} were sent, {read} read"
            )))
        }
    }
}

/// One request and its answer, and how long the answer took. Both ends are in one thread, so that the delay is the only wait there is.
fn exchange(
    client: &mut TcpStream,
    server: &mut TcpStream,
    request: usize,
    answer: usize,
    delay: Duration,
) -> io::Result<Duration> {
    client.write_all(&vec![b'q'; request])?;
    thread::sleep(delay);
    server.read_exact(&mut vec![0; request])?;
    let begun = Instant::now();
    server.write_all(&vec![b'a'; answer])?;
    client.read_exact(&mut vec![0; answer])?;
    Ok(begun.elapsed())
}

/// No waiting for ever, no waiting for more data.
fn bounded(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)
}
