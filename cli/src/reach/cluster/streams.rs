//! Logs of containers and programs in them, through the API server: what `kubectl logs` and `kubectl exec` do.

use std::future::Future;
use std::io::{self, Write};

use anyhow::{Result, anyhow, bail};
use futures_util::{AsyncReadExt as _, SinkExt as _};
use kube::api::{AttachParams, AttachedProcess, LogParams, TerminalSize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{InCluster, PIECE};
use crate::cluster::{ClusterError, explain};
use crate::reach::{Excerpt, PodName};

/// Pieces of input that wait to be sent, at most.
const INPUT: usize = 16;
/// The first Kubernetes (1.x) that a WebSocket can tell that the input of a program has ended.
const ENDS_INPUT: u32 = 30;

/// What a program is given while it runs.
#[derive(Debug)]
pub enum Input {
    /// For its standard input.
    Bytes(Vec<u8>),
    /// The terminal has these rows and columns now.
    Resized(u16, u16),
}

/// Gives a program its input; the input ends when this is dropped.
#[derive(Debug, Clone)]
pub struct InputSender(mpsc::Sender<Input>);

/// The input of a program, on its way.
#[derive(Debug)]
pub struct InputReceiver(mpsc::Receiver<Input>);

/// A way for input.
#[must_use]
pub fn input() -> (InputSender, InputReceiver) {
    let (sender, receiver) = mpsc::channel(INPUT);
    (InputSender(sender), InputReceiver(receiver))
}

impl InputSender {
    /// Sends, and waits until there is room; `false`: the program has ended.
    #[must_use]
    pub fn send(&self, input: Input) -> bool {
        self.0.blocking_send(input).is_ok()
    }
}

impl InCluster {
    /// Writes what a container said, and with `follow` what it says from now on until it ends.
    ///
    /// # Errors
    ///
    /// If the API server does not give the log, or `output` takes no more.
    pub fn log(&self, pod: &PodName, container: &str, which: Excerpt, output: &mut impl Write) -> Result<()> {
        let api = self.pods(&pod.namespace);
        let parameters = LogParams {
            container: Some(container.to_owned()),
            follow: which.follow,
            previous: which.previous,
            tail_lines: which.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            since_seconds: which.since.map(|time| i64::try_from(time.as_secs().max(1)).unwrap_or(i64::MAX)),
            limit_bytes: which.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            ..LogParams::default()
        };
        let failed = |error: &kube::Error| anyhow!("no log of container {container} of pod {pod}: {}", explain(error));
        self.cluster.run(async {
            let stream = self.soon(api.log_stream(&pod.name, &parameters)).await?;
            let mut stream = std::pin::pin!(stream.map_err(|error| failed(&error))?);
            let mut piece = vec![0; PIECE];
            loop {
                let count = if which.follow {
                    stream.read(&mut piece).await
                } else {
                    self.soon(stream.read(&mut piece)).await?
                };
                match count {
                    Ok(0) => return Ok(()),
                    Ok(count) => output.write_all(&piece[..count])?,
                    Err(error) => bail!("the log of container {container} of pod {pod} broke off: {error}"),
                }
            }
        })
    }

    /// Runs a program in a container, with our standard output and standard error, until it ends; its exit code.
    ///
    /// # Errors
    ///
    /// If it cannot be run, or how it ended is not learned.
    pub fn exec(
        &self,
        pod: &PodName,
        container: &str,
        command: &[String],
        input: Option<InputReceiver>,
        terminal: Option<(u16, u16)>,
    ) -> Result<i32> {
        let api = self.pods(&pod.namespace);
        let parameters = AttachParams::default()
            .container(container)
            .stdin(input.is_some())
            .stdout(true)
            // A terminal has one output.
            .stderr(terminal.is_none())
            .tty(terminal.is_some());
        self.cluster.run(async {
            let begun = self.soon(api.exec(&pod.name, command, &parameters)).await?;
            let mut running =
                begun.map_err(|error| anyhow!("cannot run a program in pod {pod}: {}", explain(&error)))?;
            let (stdout, stderr) = (running.stdout(), running.stderr());
            let status = running.take_status();
            let feeding = feed(&mut running, input, terminal);
            let ended = async {
                let (out, err) = tokio::join!(relay(stdout, io::stdout()), relay(stderr, io::stderr()));
                let status = match status {
                    Some(status) => status.await,
                    None => None,
                };
                (out.and(err), status)
            };
            let (relayed, status) = tokio::select! {
                ended = ended => ended,
                // Feeding never ends before the program does.
                () = feeding => bail!("how the program ended is not known"),
            };
            if matches!(&relayed, Err(error) if error.kind() == io::ErrorKind::BrokenPipe) {
                return Ok(0);
            }
            relayed?;
            exit_code(&serde_json::to_value(status).unwrap_or_default())
        })
    }

    /// Whether programs in this cluster can be told that their input has ended.
    ///
    /// # Errors
    ///
    /// If the API server does not tell its version.
    pub fn ends_input(&self) -> Result<bool, ClusterError> {
        let told: Value = serde_json::from_str(&self.cluster.text("/version")?).unwrap_or_default();
        let minor = told["minor"].as_str().unwrap_or_default().trim_end_matches('+');
        Ok(minor.parse().is_ok_and(|minor: u32| minor >= ENDS_INPUT))
    }

    async fn soon<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        let patience = self.cluster.patience();
        let ended = tokio::time::timeout(patience, future).await;
        ended.map_err(|_| anyhow!("the API server said nothing for {} s", patience.as_secs()))
    }
}

/// Passes input on for as long as there is some, then waits for ever.
async fn feed(running: &mut AttachedProcess, input: Option<InputReceiver>, terminal: Option<(u16, u16)>) {
    let mut sizes = running.terminal_size();
    let mut stdin = running.stdin();
    let size = |(height, width): (u16, u16)| TerminalSize { height, width };
    if let (Some(sizes), Some(first)) = (&mut sizes, terminal) {
        // A program that has ended has no terminal either.
        let _ = sizes.send(size(first)).await;
    }
    if let Some(InputReceiver(mut input)) = input {
        while let Some(piece) = input.recv().await {
            let taken = match (piece, &mut stdin, &mut sizes) {
                (Input::Bytes(bytes), Some(stdin), _) => stdin.write_all(&bytes).await.is_ok(),
                (Input::Resized(rows, columns), _, Some(sizes)) => sizes.send(size((rows, columns))).await.is_ok(),
                _ => true,
            };
            if !taken {
                break;
            }
        }
    }
    if let Some(mut stdin) = stdin.take() {
        let _ = stdin.shutdown().await;
    }
    std::future::pending().await
}

async fn relay(from: Option<impl AsyncRead + Unpin>, mut to: impl Write) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count]).and_then(|()| to.flush())?,
        }
    }
}

/// The exit code in the status that comes when a program has ended.
pub(super) fn exit_code(status: &Value) -> Result<i32> {
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    let code =
        causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str()?.parse().ok());
    code.ok_or_else(|| anyhow!("{}", status["message"].as_str().unwrap_or("how the program ended is not known")))
}
