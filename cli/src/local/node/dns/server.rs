//! The server: sockets of the node's network, answers of the zone or of elsewhere.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::forward::Forwarder;
use super::zone::{LARGEST_DATAGRAM, Verdict, Zone};
use crate::local::node::NodeError;
use crate::local::node::place::Place;

/// Questions that wait for an answer from elsewhere; more are told to try again.
const MOST_FORWARDED: usize = 256;
/// TCP connections at a time; more wait to be accepted.
const MOST_STREAMS: usize = 128;
/// How long a TCP client may be silent or slow.
const IDLE: Duration = Duration::from_secs(10);
/// After an error of a socket, mostly because no descriptors are left.
const PAUSE: Duration = Duration::from_millis(50);
/// What a client without EDNS takes (RFC 1035).
const SMALLEST_DATAGRAM: u16 = 512;

/// Where questions arrive.
pub(crate) struct Sockets {
    pub(super) datagrams: std::net::UdpSocket,
    pub(super) streams: std::net::TcpListener,
}

impl Sockets {
    pub(crate) fn bind(place: &Place, at: SocketAddrV4) -> Result<Self, NodeError> {
        let at = SocketAddr::V4(at);
        let bound = place.bind_udp(at).and_then(|datagrams| Ok(Self { datagrams, streams: place.listen(at)? }));
        bound.map_err(|why| NodeError::kernel(format!("answer names at {at}"), why))
    }
}

/// What all questions share.
struct Answers {
    zone: Arc<RwLock<Zone>>,
    forwarder: Option<Forwarder>,
    forwarded: Semaphore,
    turn: AtomicUsize,
}

/// How a question came, and so how large its answer may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Datagram,
    Stream,
}

/// Answers until it is dropped. Forwarding uses the network of the thread that runs this.
pub(crate) async fn serve(sockets: Sockets, zone: Arc<RwLock<Zone>>, forwarder: Option<Forwarder>) {
    let answers =
        Arc::new(Answers { zone, forwarder, forwarded: Semaphore::new(MOST_FORWARDED), turn: AtomicUsize::new(0) });
    let (datagrams, streams) = match (UdpSocket::from_std(sockets.datagrams), TcpListener::from_std(sockets.streams)) {
        (Ok(datagrams), Ok(streams)) => (Arc::new(datagrams), streams),
        (Err(why), _) | (_, Err(why)) => return warn!("names are not answered: {why}"),
    };
    tokio::join!(serve_datagrams(datagrams, Arc::clone(&answers)), serve_streams(streams, answers));
}

async fn serve_datagrams(socket: Arc<UdpSocket>, answers: Arc<Answers>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match answers.consider(&buffer[..length]) {
            Considered::Nothing => {}
            Considered::Answer(request, reply) => {
                let _ = socket.send_to(&encode(reply, request.as_ref(), Transport::Datagram), from).await;
            }
            Considered::Elsewhere(request, reply, query) => {
                let (socket, answers) = (Arc::clone(&socket), Arc::clone(&answers));
                tokio::spawn(async move {
                    let reply = answers.ask_elsewhere(&request, reply, query, Transport::Datagram).await;
                    let _ = socket.send_to(&encode(reply, Some(&request), Transport::Datagram), from).await;
                });
            }
        }
    }
}

async fn serve_streams(listener: TcpListener, answers: Arc<Answers>) {
    let places = Arc::new(Semaphore::new(MOST_STREAMS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // A client that goes away or is silent is nobody's concern.
            let _ = serve_stream(stream, &answers).await;
            drop(place);
        });
    }
}

async fn serve_stream(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut buffer = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut buffer)).await??;
        let (request, reply) = match answers.consider(&buffer) {
            Considered::Nothing => return Ok(()),
            Considered::Answer(request, reply) => (request, reply),
            Considered::Elsewhere(request, reply, query) => {
                let reply = answers.ask_elsewhere(&request, reply, query, Transport::Stream).await;
                (Some(request), reply)
            }
        };
        let bytes = encode(reply, request.as_ref(), Transport::Stream);
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        timeout(IDLE, stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat())).await??;
    }
}

enum Considered {
    /// No question at all. An answer to an answer could go on for ever.
    Nothing,
    Answer(Option<Message>, Message),
    Elsewhere(Message, Message, Query),
}

impl Answers {
    fn consider(&self, bytes: &[u8]) -> Considered {
        let Ok(request) = Message::from_vec(bytes) else {
            // The two bytes of the id and the bit that tells a question from an answer.
            return match bytes {
                [a, b, flags, ..] if bytes.len() >= 12 && flags & 0x80 == 0 => {
                    let id = u16::from_be_bytes([*a, *b]);
                    Considered::Answer(None, Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
                }
                _ => Considered::Nothing,
            };
        };
        if request.metadata.message_type != MessageType::Query {
            return Considered::Nothing;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let verdict = self.zone.read().unwrap_or_else(PoisonError::into_inner).answer(&request, turn);
        match verdict {
            Verdict::Answer(reply) => Considered::Answer(Some(request), reply),
            Verdict::Elsewhere(mut reply, name) => match request.queries.first() {
                Some(query) if self.forwarder.is_some() => {
                    let query = Query::query(name, query.query_type());
                    Considered::Elsewhere(request, reply, query)
                }
                _ => {
                    // Nothing exists outside of a mesh that has no way out. Said at once: the client goes on to its
                    // error instead of waiting.
                    reply.metadata.response_code = ResponseCode::NXDomain;
                    Considered::Answer(Some(request), reply)
                }
            },
        }
    }

    async fn ask_elsewhere(
        &self,
        request: &Message,
        mut reply: Message,
        query: Query,
        transport: Transport,
    ) -> Message {
        let mut question = request.clone();
        question.queries = vec![query];
        question.additionals.clear();
        question.signature = None;
        let found = match (&self.forwarder, self.forwarded.try_acquire(), question.to_vec()) {
            (Some(forwarder), Ok(_place), Ok(bytes)) => forwarder.ask(&bytes, transport == Transport::Stream).await,
            _ => None,
        };
        match found.and_then(|bytes| Message::from_vec(&bytes).ok()) {
            Some(answer) => {
                reply.metadata.response_code = answer.metadata.response_code;
                reply.metadata.truncation = answer.metadata.truncation;
                reply.answers.extend(answer.answers);
                reply.authorities.extend(answer.authorities);
            }
            None => reply.metadata.response_code = ResponseCode::ServFail,
        }
        reply
    }
}

/// The reply on the wire; if it is too large for a datagram, one that says so: the client asks again by TCP.
fn encode(reply: Message, request: Option<&Message>, transport: Transport) -> Vec<u8> {
    let taken = request.and_then(|request| request.edns.as_ref()).map_or(SMALLEST_DATAGRAM, |edns| edns.max_payload());
    let most = match transport {
        Transport::Datagram => taken.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM),
        Transport::Stream => u16::MAX,
    };
    match reply.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(most) => bytes,
        _ => {
            let mut short = Message::response(reply.metadata.id, reply.metadata.op_code);
            short.metadata = reply.metadata;
            short.metadata.truncation = true;
            short.queries = reply.queries;
            short.edns = reply.edns;
            short.to_vec().unwrap_or_default()
        }
    }
}
