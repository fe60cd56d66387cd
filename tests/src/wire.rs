//! One end of a connection, byte by byte: for clients that break rules and for servers that record everything.

use crate::http1::{self, Framing, Malformed, Message};
use crate::{Pod, within};
use bytes::{Buf, BytesMut};
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: FIN, or TLS close-notify.
    Closed,
    /// By a TCP reset.
    Reset,
    /// By anything else, such as a TLS alert; the text is for people.
    Failed(String),
}

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ended after these bytes.
    Ended(End, Vec<u8>),
    /// The message is ambiguous.
    Malformed(Malformed),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(end, bytes) => {
                write!(f, "the connection ended ({end:?}) after {:?}", String::from_utf8_lossy(bytes))
            }
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One end of a connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    received: Arc<Mutex<Vec<u8>>>,
    patient: bool,
}

impl Wire {
    /// Takes a connected stream.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: BytesMut::new(), received: Arc::default(), patient: false }
    }

    /// Puts every byte into `received` when it comes.
    pub(crate) fn recorded(mut self, received: Arc<Mutex<Vec<u8>>>) -> Self {
        self.received = received;
        self
    }

    /// Waits for bytes without a deadline, for servers that must outlast the test.
    pub fn without_deadline(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Connects from a pod; a test fails when the connection is refused.
    pub async fn connect(pod: &Pod, to: SocketAddr) -> Self {
        match pod.connect(to).await {
            Ok(stream) => Self::new(stream),
            Err(why) => panic!("{} cannot connect to {to}: {why}", pod.name()),
        }
    }

    /// Takes an accepted TCP stream and its peer's address apart.
    pub fn of(accepted: (TcpStream, SocketAddr)) -> (Self, SocketAddr) {
        let (stream, peer) = accepted;
        let _ = stream.set_nodelay(true);
        (Self::new(stream), peer)
    }

    /// Accepts the next connection of a listener.
    pub async fn accept(listener: &tokio::net::TcpListener) -> Self {
        let accepted = within("a connection arrives", listener.accept()).await;
        Self::of(accepted.expect("a listener accepts")).0
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.try_send(bytes.as_ref()).await;
        sent.unwrap_or_else(|why| panic!("the peer takes no more bytes: {why}"));
    }

    /// Sends bytes that the peer may refuse by closing.
    pub async fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes.as_ref()).await;
    }

    async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within("the peer takes bytes", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Ends the sending direction and keeps the other one.
    pub async fn finish(&mut self) {
        let _ = within("the sending direction ends", self.stream.shutdown()).await;
    }

    /// Everything received so far, also what has been read as messages.
    pub fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Reads on until at least one more byte has come.
    async fn fill(&mut self) -> Result<(), End> {
        let before = self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer);
        let read = match self.patient {
            true => read.await,
            false => within("bytes or an end arrive", read).await,
        };
        match read {
            Ok(0) => Err(End::Closed),
            Ok(_) => {
                self.received
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .extend_from_slice(&self.buffer[before..]);
                Ok(())
            }
            // A TLS peer that closes without close-notify has closed.
            Err(why) if why.kind() == ErrorKind::UnexpectedEof => Err(End::Closed),
            Err(why) if why.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(why) => Err(End::Failed(why.to_string())),
        }
    }

    fn ended(&mut self, end: End) -> Fault {
        Fault::Ended(end, self.buffer.split().to_vec())
    }

    /// Reads up to and including `needle`.
    ///
    /// # Errors
    /// [`Fault::Ended`] when the connection ends first.
    pub async fn try_read_until(&mut self, needle: &[u8]) -> Result<Vec<u8>, Fault> {
        loop {
            let found = self.buffer.windows(needle.len()).position(|window| window == needle);
            if let Some(at) = found {
                return Ok(self.buffer.split_to(at + needle.len()).to_vec());
            }
            if let Err(end) = self.fill().await {
                return Err(self.ended(end));
            }
        }
    }

    /// Reads up to and including `needle`; a test fails when the connection ends first.
    pub async fn read_until(&mut self, needle: impl AsRef<[u8]>) -> Vec<u8> {
        let needle = needle.as_ref();
        self.try_read_until(needle)
            .await
            .unwrap_or_else(|fault| panic!("waiting for {:?}: {fault}", String::from_utf8_lossy(needle)))
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// [`Fault::Ended`] when the connection ends first.
    pub async fn try_read_exact(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() < length {
            if let Err(end) = self.fill().await {
                return Err(self.ended(end));
            }
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    /// Reads exactly so many bytes; a test fails when the connection ends first.
    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let read = self.try_read_exact(length).await;
        read.unwrap_or_else(|fault| panic!("waiting for {length} bytes: {fault}"))
    }

    /// Reads to the end of the connection: what came, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill().await {
                return (self.buffer.split().to_vec(), end);
            }
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When the connection ends within it, or when it is ambiguous.
    pub async fn try_request(&mut self) -> Result<Message, Fault> {
        let head = self.try_read_until(b"\r\n\r\n").await?;
        let (message, framing) = http1::request_head(&head)?;
        self.body(message, framing).await
    }

    /// Reads a request; a test fails when there is none.
    pub async fn request(&mut self) -> Message {
        let request = self.try_request().await;
        request.unwrap_or_else(|fault| panic!("no request: {fault}"))
    }

    /// Reads a request's head only.
    pub async fn request_head(&mut self) -> Message {
        let head = self.read_until(b"\r\n\r\n").await;
        let read = http1::request_head(&head);
        read.unwrap_or_else(|malformed| panic!("no request: {malformed}")).0
    }

    /// Reads a response to a request with this method: also an interim one.
    ///
    /// # Errors
    /// When the connection ends within it, or when it is ambiguous.
    pub async fn try_response(&mut self, method: &str) -> Result<Message, Fault> {
        let head = self.try_read_until(b"\r\n\r\n").await?;
        let (message, framing) = http1::response_head(&head, method)?;
        self.body(message, framing).await
    }

    /// Reads a response; a test fails when there is none.
    pub async fn response(&mut self, method: &str) -> Message {
        let response = self.try_response(method).await;
        response.unwrap_or_else(|fault| panic!("no response to {method}: {fault}"))
    }

    /// Reads a response's head only.
    pub async fn response_head(&mut self, method: &str) -> Message {
        let head = self.read_until(b"\r\n\r\n").await;
        let read = http1::response_head(&head, method);
        read.unwrap_or_else(|malformed| panic!("no response: {malformed}")).0
    }

    /// Sends a request without body and reads its response.
    pub async fn get(&mut self, host: &str, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        self.response("GET").await
    }

    async fn body(&mut self, mut message: Message, framing: Framing) -> Result<Message, Fault> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => message.body = self.try_read_exact(length).await?,
            Framing::Close => {
                let (body, end) = self.rest().await;
                message.body = body;
                if end != End::Closed {
                    return Err(Fault::Ended(end, message.body));
                }
            }
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = http1::chunk_size(&line)?;
                if size == 0 {
                    loop {
                        let line = self.line().await?;
                        if line.is_empty() {
                            return Ok(message);
                        }
                        message.trailers.push(http1::field_line(&line)?);
                    }
                }
                message.body.extend(self.try_read_exact(size).await?);
                if self.try_read_exact(2).await? != b"\r\n" {
                    return Err(Malformed("a chunk without its end".to_owned()).into());
                }
            },
        }
        Ok(message)
    }

    async fn line(&mut self) -> Result<Vec<u8>, Fault> {
        let mut line = self.try_read_until(b"\r\n").await?;
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// Gives the stream back, for a client library to speak on; nothing may have been read beyond messages.
    pub fn into_stream(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        assert!(!self.buffer.has_remaining(), "bytes would be lost");
        self.stream
    }
}
