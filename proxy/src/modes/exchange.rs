//! One HTTP exchange with the admin listener.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a response that are read; the admin's answers to hooks are a line or two.
const RESPONSE_BYTES: u64 = 64 << 10;

/// Sends a request without a body and returns status and body.
///
/// # Errors
/// Whatever the connection suffers; `ConnectionRefused` when nobody listens, `TimedOut` or `WouldBlock` when
/// `timeout` has passed.
pub(super) fn exchange(admin: SocketAddr, method: &str, path: &str, timeout: Duration) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&admin, left(deadline)?)?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let mut chunk = [0_u8; 4096];
    while (response.len() as u64) < RESPONSE_BYTES {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            read => response.extend_from_slice(&chunk[..read]),
        }
    }
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")),
    }
}

/// A body as part of a message.
pub(super) fn one_line(body: &str) -> String {
    let lines: Vec<&str> = body.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(", ")
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
