//! An HTTP/1.1 exchange: real enough to be recognised, small enough to be read.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    thread,
};

use super::tcp::Service;
use crate::lab::LabError;

/// `count` GET requests over one connection, each answered with `body` bytes by a server thread that blocks in
/// `recv()`, as servers do.
pub fn get(service: &Service<'_>, count: usize, body: usize) -> Result<(), LabError> {
    let (client, server) = service.connect()?;
    thread::scope(|scope| {
        let answers = thread::Builder::new()
            .name("server".to_owned())
            .spawn_scoped(scope, move || serve(server, count, body))
            .map_err(LabError::io("start a thread"))?;
        let asked = ask(client, count, body);
        let answered = answers
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        asked
            .and(answered)
            .map_err(LabError::io("an HTTP exchange"))
    })
}

/// The client's part.
fn ask(client: TcpStream, count: usize, body: usize) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    for number in 0..count {
        client.write_all(
            format!("GET /{number} HTTP/1.1\r\nHost: lab.example\r\nAccept: */*\r\n\r\n")
                .as_bytes(),
        )?;
        until_empty_line(&mut reader)?;
        reader.read_exact(&mut vec![0; body])?;
    }
    Ok(())
}

/// The server's part.
fn serve(server: TcpStream, count: usize, body: usize) -> io::Result<()> {
    let mut reader = BufReader::new(server.try_clone()?);
    let mut server = server;
    for _ in 0..count {
        until_empty_line(&mut reader)?;
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n"
        )
        .into_bytes();
        answer.resize(answer.len() + body, b'.');
        server.write_all(&answer)?;
    }
    Ok(())
}

/// Reads a message's head.
fn until_empty_line(reader: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    Ok(())
}
