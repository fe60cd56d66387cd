//! An admin listener for tests: answers one connection after the other as scripted, then is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

/// What one connection gets.
pub(super) enum Answer {
    /// A response with a body.
    Status(u16, &'static str),
    /// Something that is no HTTP.
    Garbage,
    /// Nothing, and the end of the connection.
    Close,
    /// Nothing, for as long as the client stays.
    Silence,
}

/// The running listener.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    thread: JoinHandle<Vec<String>>,
}

impl Scripted {
    pub(super) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || answers.into_iter().map(|answer| serve(&listener, &answer)).collect());
        Self { address, thread }
    }

    /// Waits for the end of the script; returns what was asked.
    pub(super) fn finish(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, answer: &Answer) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    match answer {
        Answer::Status(status, body) => write!(
            stream,
            "HTTP/1.1 {status} Text\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap(),
        Answer::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap(),
        Answer::Close => {}
        // The client's end of patience ends the reading.
        Answer::Silence => drop(stream.read(&mut byte)),
    }
    let request = String::from_utf8(request).unwrap();
    request.split(" HTTP/1.1").next().unwrap().to_owned()
}
