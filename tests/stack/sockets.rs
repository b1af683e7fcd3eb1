//! Sockets of every kind, between two namespaces.

use std::{
    ffi::CStr,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use pktjourney::lab::{Addresses, LabError, Netns, Pair};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, listen, socket_with, sockopt};

/// Ports of what is made.
pub const SERVICE: u16 = 8000;
pub const FULL: u16 = 8001;
pub const LOSSY: u16 = 8002;
/// Attempts to connect to the listener that is full; so many get in.
const ATTEMPTS: usize = 6;
pub const BACKLOG: u32 = 1;

/// Everything is held open here.
pub struct Sockets {
    pub pair: Pair,
    _tcp: Vec<TcpStream>,
    _listeners: Vec<TcpListener>,
    _udp: Vec<UdpSocket>,
    _attempts: Vec<OwnedFd>,
}

fn io<T, E: Into<std::io::Error>>(what: &str, result: Result<T, E>) -> Result<T, LabError> {
    result.map_err(LabError::io(what))
}

impl Sockets {
    /// `a` serves, `b` connects:
    ///
    /// - connections in ESTABLISHED (IPv4, IPv6), with unread data; CLOSE-WAIT and FIN-WAIT-2; TIME-WAIT; one that lost
    ///   segments and recovered, and one that goes on losing them;
    /// - a listener whose backlog is full, with connections waiting, and attempts that it dropped;
    /// - UDP sockets with unread datagrams, with dropped ones, connected ones, one bound to an interface; a raw socket.
    pub fn make() -> Result<Self, LabError> {
        let pair = Pair::new(Addresses::unique())?;
        let (v4, v6) = (pair.addresses.v4(0, 1), pair.addresses.v6(0, 1));
        let mut listeners = Vec::new();
        let mut tcp = Vec::new();
        for address in [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVICE)),
            SocketAddr::from((v6, SERVICE)),
        ] {
            listeners.push(pair.a.enter(|| io("listen", TcpListener::bind(address)))?);
        }
        let service = |number: usize| {
            (
                &listeners[number],
                if number == 0 {
                    SocketAddr::from((v4, SERVICE))
                } else {
                    SocketAddr::from((v6, SERVICE))
                },
            )
        };
        for number in [0, 1, 0, 0] {
            let (listener, address) = service(number);
            let mut client = pair
                .b
                .enter(|| io("connect", TcpStream::connect(address)))?;
            let (mut server, _) = io("accept", listener.accept())?;
            io("write", client.write_all(&[7; 5000]))?;
            io("read", server.read_exact(&mut [0; 3000]))?;
            io("write", server.write_all(&[8; 700]))?;
            tcp.extend([client, server]);
        }
        // The third connection's client closes its half only; the fourth is closed on both sides, by the client first.
        io("shutdown", tcp[4].shutdown(std::net::Shutdown::Write))?;
        let (mut server, mut client) = (tcp.pop().expect("eight"), tcp.pop().expect("eight"));
        io("read", client.read_exact(&mut [0; 700]))?;
        io("read", server.read_exact(&mut [0; 2000]))?;
        drop(client);
        thread::sleep(Duration::from_millis(50));
        drop(server);
        let attempts = overflow(&pair, v4, &mut listeners)?;
        tcp.extend(losses(&pair, v4, &mut listeners)?);
        let udp = datagrams(&pair, v4, v6)?;
        thread::sleep(Duration::from_millis(300));
        Ok(Self {
            pair,
            _tcp: tcp,
            _listeners: listeners,
            _udp: udp,
            _attempts: attempts,
        })
    }
}

/// More attempts than a backlog of one can take: it lets two in.
fn overflow(
    pair: &Pair,
    to: Ipv4Addr,
    listeners: &mut Vec<TcpListener>,
) -> Result<Vec<OwnedFd>, LabError> {
    let listener = pair
        .a
        .enter(|| io("listen", TcpListener::bind((to, FULL))))?;
    let backlog = i32::try_from(BACKLOG).expect("small");
    io("listen again", listen(&listener, backlog))?;
    listeners.push(listener);
    let mut attempts = Vec::new();
    for _ in 0..ATTEMPTS {
        attempts.push(pair.b.enter(|| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = io(
                "socket",
                socket_with(AddressFamily::INET, SocketType::STREAM, flags, None),
            )?;
            // It is under way, whatever becomes of it.
            let _ = connect(&socket, &SocketAddr::from((to, FULL)));
            Ok(socket)
        })?);
        thread::sleep(Duration::from_millis(20));
    }
    Ok(attempts)
}

/// A connection whose segments were lost for a while.
fn losses(
    pair: &Pair,
    to: Ipv4Addr,
    listeners: &mut Vec<TcpListener>,
) -> Result<[TcpStream; 2], LabError> {
    let listener = pair
        .a
        .enter(|| io("listen", TcpListener::bind((to, LOSSY))))?;
    let mut client = pair
        .b
        .enter(|| io("connect", TcpStream::connect((to, LOSSY))))?;
    let (mut server, _) = io("accept", listener.accept())?;
    let table = format!(
        "table ip lossy {{ chain in {{ type filter hook input priority 0; tcp dport {LOSSY} drop; }}; }}"
    );
    pair.a.nft(&table)?;
    io("write", client.write_all(&[9; 3000]))?;
    thread::sleep(Duration::from_millis(700));
    pair.a.nft("delete table ip lossy")?;
    io("read", server.read_exact(&mut [0; 3000]))?;
    listeners.push(listener);
    Ok([client, server])
}

fn datagrams(pair: &Pair, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Vec<UdpSocket>, LabError> {
    let bind =
        |netns: &Netns, address: SocketAddr| netns.enter(|| io("bind", UdpSocket::bind(address)));
    let unread = bind(&pair.a, (v6, 9000).into())?;
    let small = bind(&pair.a, (v4, 9001).into())?;
    io(
        "SO_RCVBUF",
        sockopt::set_socket_recv_buffer_size(&small, 4096),
    )?;
    let bound = bind(&pair.a, (Ipv4Addr::UNSPECIFIED, 9002).into())?;
    bind_to_device(&bound, c"a0")?;
    let connected = bind(&pair.b, (Ipv6Addr::UNSPECIFIED, 0).into())?;
    io("connect", connected.connect((v6, 9000)))?;
    let sender = bind(&pair.b, (Ipv4Addr::UNSPECIFIED, 0).into())?;
    for _ in 0..20 {
        io("send", connected.send(&[1; 200]))?;
        io("send", sender.send_to(&[1; 1000], (v4, 9001)))?;
    }
    Ok(vec![unread, small, bound, connected, sender])
}

fn bind_to_device(socket: &UdpSocket, device: &CStr) -> Result<(), LabError> {
    let name = device.to_bytes();
    let length = libc::socklen_t::try_from(name.len()).expect("a short name");
    // SAFETY: the pointer and the length are those of `name`, which the kernel only reads.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            length,
        )
    };
    let failed = done < 0;
    io(
        "SO_BINDTODEVICE",
        if failed {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(())
        },
    )
}
