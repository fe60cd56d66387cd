//! What commands say to the daemon, over a socket in the state directory.
//!
//! The pods' namespaces have no names outside of the daemon, and without root only it may enter them: so a command that
//! wants something of a pod asks here. A request is one line of JSON; the answer is one line of JSON; what follows is the
//! bytes of a connection ([`Request::Connect`]) or frames ([`Request::Exec`]). The state directory is closed to other
//! users, and with it the socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::local::state::State;

/// How long the daemon may take to accept, and to answer a request: it looks things up, or starts a process.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest request or answer line.
pub(super) const LONGEST_LINE: u64 = 1 << 20;
/// Longest payload of a frame.
pub(super) const LONGEST_FRAME: usize = 1 << 20;

/// What a command wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Say that you are there.
    Ping,
    /// Keep this connection; when it ends, so does a daemon that was started to stay in the foreground.
    Attach,
    /// A connection; after the answer the socket is that connection.
    Connect(Target),
    /// Run a program in a container; after the answer [`Frame`]s go both ways.
    Exec(ExecRequest),
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// fsm-control's admin pages.
    Control,
    /// A port on the loopback address inside a pod.
    Pod {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// TCP port.
        port: u16,
    },
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it gets something to read.
    pub stdin: bool,
    /// The terminal that it gets, if any.
    pub terminal: Option<Terminal>,
}

/// A terminal for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
    /// What `TERM` says.
    pub kind: String,
}

/// What the daemon says to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    Done,
    /// Why not, and what to do.
    Refused(String),
}

/// Input, output and end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Something for it to read; empty: there will be no more.
    Input(Vec<u8>),
    /// Its terminal has this many lines and columns now.
    Resize(u16, u16),
    /// It wrote to its standard output (or terminal).
    Output(Vec<u8>),
    /// It wrote to its standard error.
    Errors(Vec<u8>),
    /// It has ended with this exit code, 128 and the signal's number for signals.
    Exit(i32),
}

impl Frame {
    /// One byte of kind, four of length, and the payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Input(bytes) => (0, bytes.clone()),
            Self::Resize(rows, columns) => (1, [rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Self::Output(bytes) => (2, bytes.clone()),
            Self::Errors(bytes) => (3, bytes.clone()),
            Self::Exit(code) => (4, code.to_be_bytes().to_vec()),
        };
        let mut frame = vec![kind];
        frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Length of the payload, from the five bytes that begin a frame.
    ///
    /// # Errors
    ///
    /// If it is longer than any that is sent.
    pub fn length(head: [u8; 5]) -> io::Result<usize> {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length <= LONGEST_FRAME { Ok(length) } else { Err(malformed("a frame is too long")) }
    }

    /// The frame of this kind and payload.
    ///
    /// # Errors
    ///
    /// If there is no such frame.
    pub fn decode(kind: u8, payload: Vec<u8>) -> io::Result<Self> {
        Ok(match (kind, payload.as_slice()) {
            (0, _) => Self::Input(payload),
            (1, &[a, b, c, d]) => Self::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            (2, _) => Self::Output(payload),
            (3, _) => Self::Errors(payload),
            (4, &[a, b, c, d]) => Self::Exit(i32::from_be_bytes([a, b, c, d])),
            _ => return Err(malformed("a frame is of no known kind")),
        })
    }

    /// Reads a frame; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the stream, also if it ends within a frame.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 5];
        match stream.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => stream.read_exact(&mut head[1..])?,
        }
        let mut payload = vec![0; Self::length(head)?];
        stream.read_exact(&mut payload)?;
        Self::decode(head[0], payload).map(Some)
    }
}

/// Why the daemon could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon listens.
    #[error("the mesh {mesh} does not run{hint}")]
    NotRunning {
        /// Its name.
        mesh: String,
        /// What to do.
        hint: &'static str,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
    /// The connection failed.
    #[error("cannot talk to the daemon of mesh {mesh}: {source}; its log is {}", log.display())]
    Broken {
        /// Its name.
        mesh: String,
        /// Where it says what happened.
        log: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

/// Sends a request, and gives the connection as it is after a good answer.
///
/// # Errors
///
/// [`AskError`].
pub fn ask(state: &State, request: &Request) -> Result<UnixStream, AskError> {
    let broken = |source| AskError::Broken { mesh: state.mesh().to_owned(), log: state.daemon_log(), source };
    let stream = match connect(state) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            let hint = if state.is_running() {
                " yet: it is being started"
            } else {
                ": it was ended or has crashed; `fsm down` removes what is left, `fsm up DIR` starts it again"
            };
            return Err(AskError::NotRunning { mesh: state.mesh().to_owned(), hint });
        }
        Err(error) => return Err(broken(error)),
    };
    let answered = converse(&stream, request).map_err(broken)?;
    match answered {
        Answer::Done => Ok(stream),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}

fn converse(mut stream: &UnixStream, request: &Request) -> io::Result<Answer> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    // Byte by byte: what follows the line belongs to the caller.
    let mut answer = Vec::new();
    let mut byte = [0];
    while (answer.len() as u64) < LONGEST_LINE && stream.read(&mut byte)? == 1 {
        if byte[0] == b'\n' {
            stream.set_read_timeout(None)?;
            stream.set_write_timeout(None)?;
            return Ok(serde_json::from_slice(&answer)?);
        }
        answer.push(byte[0]);
    }
    Err(malformed("it hung up without an answer"))
}

/// Connects to the socket by a short name: an address holds no more than 107 bytes of path.
fn connect(state: &State) -> io::Result<UnixStream> {
    let directory = std::fs::File::open(state.root())?;
    UnixStream::connect(format!("/proc/self/fd/{}/daemon.sock", directory.as_raw_fd()))
}

pub(super) fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
