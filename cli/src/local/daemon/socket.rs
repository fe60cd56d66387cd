//! The daemon's side of [`super::wire`]: answers commands.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};

use super::streams::Streams;
use super::wire::{Answer, ExecRequest, Frame, LONGEST_LINE, Request, Target, malformed};
use super::{ADMIN_PORT, Containers};
use crate::local::node::{Exec, ExecIo, ExecRequest as Start, Node, PodKey};
use crate::local::state::State;

/// How long a command may take to say what it wants. It is another process of the same user.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a connection into a pod may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long output is waited for after a program has ended: something that it left running may hold its pipes for ever.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// Commands at once, at most: what a runaway script can do.
const CONNECTIONS: usize = 256;
/// Bytes read at once from a program.
const PIECE: usize = 32 * 1024;

/// What answers need.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) node: Node,
    pub(super) containers: Containers,
    /// Told of whoever attaches itself, or is gone again.
    pub(super) presence: mpsc::Sender<Presence>,
}

/// What is known of the command that started the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    Gone,
}

/// Makes the socket. One that a dead daemon has left is replaced.
pub(super) fn listen(state: &State) -> io::Result<UnixListener> {
    let directory = std::fs::File::open(state.root())?;
    // By a short name: an address holds no more than 107 bytes of path.
    let path = format!("/proc/self/fd/{}/daemon.sock", directory.as_raw_fd());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(&path),
    }
}

/// Answers until it is dropped.
pub(super) async fn serve(listener: UnixListener, service: Service) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    if let Err(error) = service.answer(stream).await {
                        tracing::debug!(%error, "a command hung up");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: accepting again at once would only burn the processor.
                tracing::warn!(%error, "cannot accept a command");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Service {
    async fn answer(self, stream: UnixStream) -> io::Result<()> {
        let (input, mut output) = stream.into_split();
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        let mut beginning = (&mut input).take(LONGEST_LINE);
        tokio::time::timeout(REQUEST, beginning.read_until(b'\n', &mut line))
            .await
            .map_err(|_| malformed("it did not say what it wants"))??;
        match serde_json::from_slice(&line)? {
            Request::Ping => say(&mut output, &Answer::Done).await,
            Request::Attach => {
                say(&mut output, &Answer::Done).await?;
                // Nobody listens where the daemon stays anyway.
                let _ = self.presence.send(Presence::Here).await;
                // Whether it ends well or not: it is gone.
                let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
                let _ = self.presence.send(Presence::Gone).await;
                Ok(())
            }
            Request::Connect(target) => self.connect(target, input, output).await,
            Request::Exec(request) => self.exec(request, input, output).await,
        }
    }

    async fn connect(
        self,
        target: Target,
        mut input: BufReader<OwnedReadHalf>,
        mut output: OwnedWriteHalf,
    ) -> io::Result<()> {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connected = match &target {
            Target::Control => self.node.connect(loopback(ADMIN_PORT), CONNECT).await.map_err(|error| {
                format!("fsm-control does not answer ({error}): it may just be starting, see `fsm logs control`")
            }),
            Target::Pod { namespace, pod, port } => match self.node.pod(&PodKey::new(namespace, pod)) {
                None => Err(format!("pod {namespace}/{pod} does not run: see `fsm get pod {pod} -n {namespace}`")),
                Some(network) => network
                    .connect(loopback(*port), CONNECT)
                    .await
                    .map_err(|error| format!("nothing answers on port {port} in pod {namespace}/{pod}: {error}")),
            },
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(why) => return say(&mut output, &Answer::Refused(why)).await,
        };
        say(&mut output, &Answer::Done).await?;
        let (mut from, mut to) = connection.split();
        let up = async {
            tokio::io::copy_buf(&mut input, &mut to).await?;
            to.shutdown().await
        };
        let down = async {
            tokio::io::copy(&mut from, &mut output).await?;
            output.shutdown().await
        };
        tokio::try_join!(up, down).map(|_| ())
    }

    async fn exec(
        self,
        request: ExecRequest,
        input: BufReader<OwnedReadHalf>,
        mut output: OwnedWriteHalf,
    ) -> io::Result<()> {
        let ExecRequest { namespace, pod, container, command, stdin, terminal } = request;
        let Some(running) = self.containers.get(&namespace, &pod, &container) else {
            let why = format!(
                "container {container} of pod {namespace}/{pod} does not run: see `fsm get pod {pod} -n {namespace}` and \
                 `fsm logs {pod} -n {namespace} -c {container}`"
            );
            return say(&mut output, &Answer::Refused(why)).await;
        };
        let (io, env) = match terminal {
            Some(terminal) => {
                let io = ExecIo::Terminal { rows: terminal.rows, columns: terminal.columns };
                (io, vec![("TERM".to_owned(), terminal.kind)])
            }
            None => (ExecIo::Pipes { stdin }, Vec::new()),
        };
        let start = Start { command, env, directory: None, user: None, io };
        let started = tokio::task::spawn_blocking(move || running.exec(start)).await.map_err(io::Error::other)?;
        match started {
            Err(error) => {
                // What a shell says of a program that it cannot run; scripts know these codes.
                say(&mut output, &Answer::Done).await?;
                let text = format!("Error: {error}\n").into_bytes();
                output.write_all(&Frame::Errors(text).encode()).await?;
                output.write_all(&Frame::Exit(127).encode()).await
            }
            Ok(program) => {
                say(&mut output, &Answer::Done).await?;
                relay(program, input, output).await
            }
        }
    }
}

async fn say(output: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    output.write_all(&line).await
}

/// Carries input and output until the program has ended, or the command is gone: then the program is ended.
async fn relay(mut program: Exec, input: BufReader<OwnedReadHalf>, output: OwnedWriteHalf) -> io::Result<()> {
    let output = Arc::new(Mutex::new(output));
    let mut streams = Streams::of(&mut program)?;
    let sending = {
        let (first, second) = (streams.output.take(), streams.errors.take());
        let (to_first, to_second) = (Arc::clone(&output), Arc::clone(&output));
        async move { tokio::join!(send(first, Frame::Output, &to_first), send(second, Frame::Errors, &to_second)) }
    };
    tokio::pin!(sending);
    let receiving = receive(input, streams.input.take(), &program);
    tokio::pin!(receiving);
    let mut sent = false;
    let ended = loop {
        tokio::select! {
            ended = program.wait() => break ended?,
            _ = &mut sending, if !sent => sent = true,
            // Dropping the program ends it.
            gone = &mut receiving => return gone,
        }
    };
    if !sent {
        let _ = tokio::time::timeout(LAST_OUTPUT, &mut sending).await;
    }
    output.lock().await.write_all(&Frame::Exit(code(ended)).encode()).await
}

fn code(ended: ExitStatus) -> i32 {
    ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

async fn send(from: Option<pipe::Receiver>, frame: impl Fn(Vec<u8>) -> Frame, to: &Mutex<OwnedWriteHalf>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer).await {
            Ok(count) if count > 0 => {
                if to.lock().await.write_all(&frame(buffer[..count].to_vec()).encode()).await.is_err() {
                    return;
                }
            }
            // The end, which a terminal tells as EIO.
            _ => return,
        }
    }
}

/// Passes input on until the command hangs up. A program that does not read keeps nobody but its own command waiting.
async fn receive(mut from: BufReader<OwnedReadHalf>, mut to: Option<pipe::Sender>, program: &Exec) -> io::Result<()> {
    loop {
        let mut head = [0; 5];
        from.read_exact(&mut head).await?;
        let mut payload = vec![0; Frame::length(head)?];
        from.read_exact(&mut payload).await?;
        match Frame::decode(head[0], payload)? {
            Frame::Input(bytes) if bytes.is_empty() => to = None,
            Frame::Input(bytes) => {
                if let Some(pipe) = &mut to
                    && pipe.write_all(&bytes).await.is_err()
                {
                    // It reads no more; it may still have something to say.
                    to = None;
                }
            }
            Frame::Resize(rows, columns) => program.resize(rows, columns)?,
            Frame::Output(_) | Frame::Errors(_) | Frame::Exit(_) => {}
        }
    }
}
