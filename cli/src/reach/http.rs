//! One small HTTP client for admin pages: a request, and an answer that is read as a whole or as it comes.
//!
//! It speaks HTTP/1.0, so that the answer ends with the connection, and understands chunks nevertheless, which some
//! servers send even then. Heads longer than [`LONGEST_HEAD`] and pages longer than [`LONGEST_PAGE`] are refused:
//! whoever answers may be broken.

use std::io::{self, Read, Write};

/// Longest head of an answer.
const LONGEST_HEAD: usize = 64 << 10;
/// Longest page that is read as a whole.
const LONGEST_PAGE: u64 = 256 << 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Show.
    Get,
    /// Change.
    Post,
}

/// A page as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// All of the body.
    pub body: Vec<u8>,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer<S> {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Body<S>,
}

/// The body of an answer, without its chunks.
#[derive(Debug)]
pub struct Body<S> {
    stream: S,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Until the connection ends.
    End,
    /// A chunk with so many bytes left; `None`: the next one's size comes first.
    Chunk(Option<u64>),
    /// The last chunk was read.
    Over,
}

/// Sends a request and reads the head of its answer.
///
/// # Errors
///
/// Those of the connection, and what is no HTTP.
pub fn ask<S: Read + Write>(mut stream: S, method: Method, path: &str) -> io::Result<Answer<S>> {
    if path.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(malformed("the page's path contains blanks"));
    }
    let method = match method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
    let request = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n{length}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let head = head(&mut stream)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| malformed("the answer has no HTTP status"))?;
    let chunked = head.lines().any(|line| line.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked");
    let framing = if chunked { Framing::Chunk(None) } else { Framing::End };
    Ok(Answer { status, body: Body { stream, framing } })
}

/// Sends a request and reads all of its answer.
///
/// # Errors
///
/// As [`ask`]; also if the answer is cut off.
pub fn page<S: Read + Write>(stream: S, method: Method, path: &str) -> io::Result<Page> {
    let Answer { status, body } = ask(stream, method, path)?;
    let mut whole = Vec::new();
    body.take(LONGEST_PAGE).read_to_end(&mut whole)?;
    Ok(Page { status, body: whole })
}

/// Byte by byte: what follows is the body's.
fn head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_HEAD || stream.read(&mut byte)? == 0 {
            return Err(malformed("no HTTP answer came"));
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.framing {
                Framing::End => return self.stream.read(buffer),
                Framing::Over => return Ok(0),
                Framing::Chunk(None) => {
                    let size = self.chunk_size()?;
                    self.framing = if size == 0 { Framing::Over } else { Framing::Chunk(Some(size)) };
                }
                Framing::Chunk(Some(0)) => {
                    self.line()?;
                    self.framing = Framing::Chunk(None);
                }
                Framing::Chunk(Some(left)) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let count = self.stream.read(&mut buffer[..most])?;
                    if count == 0 && most > 0 {
                        return Err(malformed("a chunk is cut off"));
                    }
                    self.framing = Framing::Chunk(Some(left - count as u64));
                    return Ok(count);
                }
            }
        }
    }
}

impl<S: Read> Body<S> {
    fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim().to_owned();
        u64::from_str_radix(&size, 16).map_err(|_| malformed("a chunk has no size"))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if line.len() > 128 || self.stream.read(&mut byte)? == 0 {
                return Err(malformed("a chunk is cut off"));
            }
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
