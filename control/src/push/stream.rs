//! One proxy's stream: from its `Hello` to its end.
//!
//! A refusal is an HTTP status with a sentence that says why, before any message is sent. Afterwards one small task
//! looks at what the proxy says and at what is new for it. The stream ends with the pod, with the certificate that it
//! was opened with, with a newer stream of the same pod, and when the proxy does not answer.

use super::board::Seat;
use super::roster::{Arrival, Attendance};
use super::server::{Peer, Reply, refusal};
use super::session::{Answered, Message, MessageKind, Session};
use super::{PodKey, Publication, Push};
use crate::cert::TrustBundle;
use crate::limits;
use bytes::{Bytes, BytesMut};
use fsm_api::stream::frame::{Frame, FrameError};
use fsm_api::stream::{ControlMessage, Hello, ProxyMessage, Trust};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use thiserror::Error;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Answers a request for a stream.
pub(super) async fn open(push: Arc<Push>, peer: Arc<Peer>, body: Incoming, stop: CancellationToken) -> Reply {
    match admit(&push, &peer, Upward::new(body)).await {
        Ok((seat, attendance, session, upward)) => {
            // One message at a time is on its way, so that one place is enough.
            let (downward, frames) = mpsc::channel(1);
            let bundle = push.issuer.changes();
            let trust_is_news = bundle.borrow().since > peer.issued;
            let stream = Stream {
                push,
                seat,
                attendance,
                session,
                upward,
                downward,
                bundle,
                trust_is_news,
                opened: Instant::now(),
                expires: peer.expires_in().map(|left| tokio::time::Instant::now() + left),
            };
            tokio::spawn(stream.run(stop));
            let mut reply = Response::new(super::server::ReplyBody::Frames(frames));
            let kind = header::HeaderValue::from_static("application/octet-stream");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
        }
        Err(refused) => {
            debug!("a stream is refused: {refused}");
            push.telemetry.count_refused(refused.label());
            refusal(refused.status(), &refused.to_string())
        }
    }
}

/// Why a stream is refused.
#[derive(Debug, Error)]
enum Refused {
    #[error(
        "the stream needs mutual TLS with a certificate of the mesh; get one from {} first",
        fsm_api::stream::IDENTITY_PATH
    )]
    NoCertificate,
    #[error("{0}; ask for a new certificate")]
    Identity(String),
    #[error("no Hello arrived within {} s; it must be the first message", limits::HELLO_TIMEOUT.as_secs())]
    Late,
    #[error("the first message must be a Hello")]
    NoHello,
    #[error(transparent)]
    Frame(#[from] UpwardError),
    #[error("pod {0} is not known, or not part of the mesh; try again when it is")]
    UnknownPod(PodKey),
    #[error("pod {pod} belongs to the service account {owner}, and this certificate to {caller}")]
    OtherAccount { pod: PodKey, owner: String, caller: String },
    #[error("pod {pod} has the UID {known}, not {said}: it was replaced by another pod of the same name")]
    OtherPod { pod: PodKey, known: String, said: String },
    #[error("{0} proxies are connected already, which is all that maxDataPlaneConnections admits; try again later")]
    TooMany(usize),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoCertificate | Self::Identity(_) => StatusCode::UNAUTHORIZED,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::NoHello | Self::Frame(_) => StatusCode::BAD_REQUEST,
            Self::UnknownPod(_) => StatusCode::NOT_FOUND,
            Self::OtherAccount { .. } | Self::OtherPod { .. } => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Identity(_) => "identity",
            Self::Late => "late",
            Self::NoHello | Self::Frame(_) => "malformed",
            Self::UnknownPod(_) => "unknown-pod",
            Self::OtherAccount { .. } => "other-account",
            Self::OtherPod { .. } => "other-pod",
            Self::TooMany(_) => "too-many",
        }
    }
}

type Admitted = (Seat, Attendance, Session, Upward);

async fn admit(push: &Push, peer: &Peer, mut upward: Upward) -> Result<Admitted, Refused> {
    let identity = match &peer.identity {
        Some(Ok(identity)) => identity.clone(),
        Some(Err(error)) => return Err(Refused::Identity(error.to_string())),
        None => return Err(Refused::NoCertificate),
    };
    let hello = timeout(limits::HELLO_TIMEOUT, upward.next()).await.map_err(|_| Refused::Late)??;
    let Some(ProxyMessage::Hello(hello)) = hello else { return Err(Refused::NoHello) };
    let Hello { namespace, pod, uid, proxy_version, version, deltas } = hello;
    let pod = PodKey { namespace, name: pod };
    // Somebody else's pods are refused without telling whether they exist.
    if pod.namespace != identity.namespace() {
        return Err(Refused::UnknownPod(pod));
    }
    let seat = timeout(limits::UNKNOWN_POD_WAIT, push.board.await_seat(&pod)).await;
    let Ok(seat) = seat else { return Err(Refused::UnknownPod(pod)) };
    if seat.tenant.identity != identity {
        let (owner, caller) = (seat.tenant.identity.to_string(), identity.to_string());
        return Err(Refused::OtherAccount { pod, owner, caller });
    }
    let known = &seat.tenant.uid;
    if !known.is_empty() && !uid.is_empty() && *known != uid {
        return Err(Refused::OtherPod { pod, known: known.clone(), said: uid });
    }
    let arrival = Arrival {
        pod,
        identity,
        proxy_version: printable(proxy_version),
        version: version.clone(),
        certificate_expires: peer.expires,
    };
    let cap = push.settings.load().max_proxies;
    let Some(attendance) = push.roster.arrive(arrival, cap, SystemTime::now()) else {
        push.telemetry.rejected_by_cap.add();
        return Err(Refused::TooMany(cap));
    };
    if version.is_some() {
        push.telemetry.reconnects.add();
    }
    Ok((seat, attendance, Session::new(version, deltas), upward))
}

struct Stream {
    push: Arc<Push>,
    seat: Seat,
    attendance: Attendance,
    session: Session,
    upward: Upward,
    downward: mpsc::Sender<Bytes>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    /// The proxy's certificate is older than the present roots.
    trust_is_news: bool,
    opened: Instant,
    expires: Option<tokio::time::Instant>,
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum End {
    #[error("the proxy closed it")]
    Closed,
    #[error("the pod is gone")]
    PodGone,
    #[error("fsm-control stops")]
    Stopping,
    #[error("a newer stream of the same pod took over")]
    Superseded,
    #[error("the certificate that it was opened with has expired")]
    Expired,
    #[error("version {0} was not answered within {limit} s", limit = limits::ACKNOWLEDGEMENT_TIMEOUT.as_secs())]
    Unanswered(Arc<str>),
    #[error(transparent)]
    Upward(#[from] UpwardError),
}

/// What happened next.
enum Next {
    Message(Result<Option<ProxyMessage>, UpwardError>),
    Published(bool),
    Roots,
    Room,
    Unanswered,
    End(End),
}

impl Stream {
    async fn run(mut self, stop: CancellationToken) {
        let pod = self.seat.tenant.identity.clone();
        let end = loop {
            if let Err(end) = self.step(&stop).await {
                break end;
            }
        };
        match &end {
            End::Unanswered(_) | End::Upward(_) => {
                info!("the stream of a proxy of {pod} ends: {end}; the proxy will come back")
            }
            _ => debug!("the stream of a proxy of {pod} ends: {end}"),
        }
    }

    /// Sends what is due and waits for one thing to happen.
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), End> {
        let blocked = self.send()?;
        match self.wait(blocked, stop).await {
            Next::Message(Ok(Some(message))) => {
                self.hear(message);
                Ok(())
            }
            Next::Message(Ok(None)) => Err(End::Closed),
            Next::Message(Err(error)) => Err(error.into()),
            Next::Published(true) | Next::Room => Ok(()),
            Next::Published(false) => Err(End::PodGone),
            Next::Roots => {
                self.trust_is_news = true;
                Ok(())
            }
            Next::Unanswered => {
                self.push.telemetry.unanswered.add();
                Err(End::Unanswered(self.newest().version().clone()))
            }
            Next::End(end) => Err(end),
        }
    }

    /// Whether something waits for room.
    fn send(&mut self) -> Result<bool, End> {
        let newest = self.newest();
        self.attendance.wanted(newest.version(), newest.caused());
        // Room first: what is taken from the session must be sent.
        let downward = self.downward.clone();
        let room = match downward.try_reserve() {
            Ok(room) => room,
            Err(TrySendError::Full(())) => return Ok(true),
            Err(TrySendError::Closed(())) => return Err(End::Closed),
        };
        let message = if self.trust_is_news {
            // Roots before documents: a document may lead to peers that have a certificate of the new root.
            self.trust_is_news = false;
            let trust_bundle = self.bundle.borrow_and_update().pem.clone();
            let frame = ControlMessage::Trust(Trust { trust_bundle }).encode().into();
            Some(Message { frame, kind: MessageKind::Trust })
        } else {
            self.session.next(&newest, Instant::now())
        };
        let Some(message) = message else { return Ok(false) };
        self.push.telemetry.count_sent(message.kind.label());
        room.send(message.frame);
        // There may be a document behind the roots.
        Ok(message.kind == MessageKind::Trust)
    }

    async fn wait(&mut self, blocked: bool, stop: &CancellationToken) -> Next {
        let answer_due = self.session.waiting_since().map(|since| since + limits::ACKNOWLEDGEMENT_TIMEOUT);
        tokio::select! {
            message = self.upward.next() => Next::Message(message),
            changed = self.seat.publications.changed() => Next::Published(changed.is_ok()),
            Ok(()) = self.bundle.changed() => Next::Roots,
            _ = self.downward.reserve(), if blocked => Next::Room,
            () = self.downward.closed() => Next::End(End::Closed),
            () = until(answer_due.map(Into::into)) => Next::Unanswered,
            () = until(self.expires) => Next::End(End::Expired),
            () = self.attendance.superseded().cancelled() => Next::End(End::Superseded),
            () = stop.cancelled() => Next::End(End::Stopping),
        }
    }

    fn hear(&mut self, message: ProxyMessage) {
        match message {
            ProxyMessage::Ack(ack) => {
                if let Answered::InForce { version, caused } = self.session.acknowledged(&ack) {
                    // What changed while the proxy was away tells about its absence, not about us.
                    if caused >= self.opened {
                        self.push.telemetry.converged(caused.elapsed());
                    }
                    let problems = ack.problems.into_iter().map(printable).take(MAX_PROBLEMS).collect();
                    self.attendance.acknowledged(&version, problems);
                }
            }
            ProxyMessage::Nack(nack) => {
                if self.session.refused(&nack) == Answered::Refused {
                    self.push.telemetry.nacks.add();
                    let (identity, reason) = (&self.seat.tenant.identity, printable(nack.reason));
                    warn!("a proxy of {identity} refuses version {}: {reason}", printable(nack.version.clone()));
                    self.attendance.refused(printable(nack.version), reason, SystemTime::now());
                }
            }
            // A second Hello changes nothing; a newer proxy may say what we do not know.
            ProxyMessage::Hello(_) | ProxyMessage::Unknown => {}
        }
    }

    fn newest(&mut self) -> Arc<Publication> {
        self.seat.publications.borrow_and_update().clone()
    }
}

impl MessageKind {
    fn label(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Delta => "delta",
            Self::Current => "current",
            Self::Trust => "trust",
        }
    }
}

/// Problems of one acknowledgement that are kept.
const MAX_PROBLEMS: usize = 50;

/// What a proxy says is shown on terminals: without control characters, and not endlessly.
fn printable(text: String) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect()
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What the proxy sends, message by message.
#[derive(Debug)]
struct Upward {
    body: Incoming,
    buffer: BytesMut,
}

/// Why nothing more can be read from a proxy.
#[derive(Debug, Error)]
enum UpwardError {
    #[error("the proxy's side broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the proxy sent something that is no message: {0}")]
    Frame(#[from] FrameError),
    #[error("the proxy sends a message of more than {} bytes", limits::MAX_UPWARD_BYTES)]
    TooLong,
}

impl Upward {
    fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; `None` when there are no more. May be cancelled and called again.
    async fn next(&mut self) -> Result<Option<ProxyMessage>, UpwardError> {
        loop {
            if let Some(frame) = Frame::first(&self.buffer)? {
                let (message, length) = (frame.proxy_message()?, frame.len());
                let _ = self.buffer.split_to(length);
                if self.buffer.is_empty() {
                    // Thousands of quiet streams shall not hold a buffer each.
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
            if self.buffer.len() > limits::MAX_UPWARD_BYTES {
                return Err(UpwardError::TooLong);
            }
        }
    }
}
