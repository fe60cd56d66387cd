//! `fsm exec`: a command in a pod. Its exit code becomes ours, so that scripts can tell a refused connection (curl's 7)
//! from one that was reset (56).

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::select::Scope;
use super::{MeshChoice, pods};
use crate::local::daemon::wire::{self, ExecRequest, Frame, Request, Terminal};
use crate::local::state::State;
use crate::output::terminal;
use crate::reach::{self, InCluster, Input, Mesh, PodName};

/// `fsm exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fsm exec deploy/curl -n curl -- curl -si http://httpbin.httpbin:14001/get\n  \
    fsm exec -it deploy/curl -n curl -- bash\n\nThe exit code is that of the command, 128 and the signal's number if a signal ended it.")]
pub(super) struct Exec {
    /// A pod, or deploy/NAME, svc/NAME, sts/NAME
    target: String,
    #[command(flatten)]
    scope: Scope,
    /// Container [default: the first one that is not the sidecar]
    #[arg(short, long)]
    container: Option<String>,
    /// Give the command our standard input
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal, if we have one
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<ExitCode> {
        let mesh = choice.reach()?;
        let pod = pods::find(&mesh, choice, &self.scope, &self.target)?;
        let container = pods::container(&pod, self.container.as_deref())?;
        // As kubectl: without a terminal of our own there is none to give.
        let terminal = self.tty && self.stdin && io::stdin().is_terminal() && io::stdout().is_terminal();
        let size = terminal.then(|| terminal::size().unwrap_or((24, 80)));
        match mesh {
            Mesh::Local(state) => self.here(&state, &pod, container, size),
            Mesh::Cluster(cluster) => self.there(&cluster, &pod, &container, size),
        }
    }

    /// In a pod of this machine, through its daemon.
    fn here(self, state: &State, pod: &Value, container: String, size: Option<(u16, u16)>) -> Result<ExitCode> {
        let (namespace, name) = pods::name(pod);
        let kind = || std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        let wanted = size.map(|(rows, columns)| Terminal { rows, columns, kind: kind() });
        let request =
            ExecRequest { namespace, pod: name, container, command: self.command, stdin: self.stdin, terminal: wanted };
        let connection = wire::ask(state, &Request::Exec(request))?;
        let raw = if size.is_some() { Some(terminal::Raw::enter()?) } else { None };
        if self.stdin {
            let mut input = connection.try_clone().context("cannot read the standard input")?;
            std::thread::spawn(move || {
                read_input(size.is_some(), |piece| {
                    let frame = match piece {
                        Input::Bytes(bytes) => Frame::Input(bytes),
                        Input::Resized(rows, columns) => Frame::Resize(rows, columns),
                    };
                    input.write_all(&frame.encode()).is_ok()
                });
                // An empty piece says that there is no more.
                let _ = input.write_all(&Frame::Input(Vec::new()).encode());
            });
        }
        let code = relay(connection);
        drop(raw);
        Ok(ExitCode::from(code?))
    }

    /// In a pod of a cluster, through its API server.
    fn there(self, cluster: &InCluster, pod: &Value, container: &str, size: Option<(u16, u16)>) -> Result<ExitCode> {
        let pod = PodName::of(pod);
        if self.stdin && size.is_none() && !cluster.ends_input()? {
            bail!(
                "the API server of {cluster} is older than Kubernetes 1.30 and cannot be told when the input of a program \
                 ends: use `kubectl exec -i {} -n {} -c {container} -- …`, or leave -i out",
                pod.name,
                pod.namespace
            );
        }
        let raw = if size.is_some() { Some(terminal::Raw::enter()?) } else { None };
        let input = self.stdin.then(|| {
            let (sender, receiver) = reach::input();
            std::thread::spawn(move || read_input(size.is_some(), |piece| sender.send(piece)));
            receiver
        });
        let code = cluster.exec(&pod, container, &self.command, input, size);
        drop(raw);
        Ok(ExitCode::from(u8::try_from(code? & 0xff).unwrap_or(1)))
    }
}

/// Hands on our standard input, until it ends or nobody wants it any more.
fn read_input(terminal: bool, mut send: impl FnMut(Input) -> bool) {
    let mut size = terminal.then(terminal::size).flatten();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = match io::stdin().lock().read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        // Without a handler for SIGWINCH (that is unsafe code) the size is looked at whenever somebody types.
        if terminal
            && let Some(now) = terminal::size()
            && size != Some(now)
        {
            size = Some(now);
            if !send(Input::Resized(now.0, now.1)) {
                return;
            }
        }
        if count == 0 || !send(Input::Bytes(buffer[..count].to_vec())) {
            return;
        }
    }
}

fn relay(mut connection: UnixStream) -> Result<u8> {
    loop {
        match Frame::read(&mut connection).context("the connection to the daemon broke")? {
            Some(Frame::Output(bytes)) => write(&mut io::stdout().lock(), &bytes)?,
            Some(Frame::Errors(bytes)) => write(&mut io::stderr().lock(), &bytes)?,
            Some(Frame::Exit(code)) => return Ok(u8::try_from(code & 0xff).unwrap_or(1)),
            Some(Frame::Input(_) | Frame::Resize(..)) => {}
            None => {
                bail!("the daemon hung up before the command had ended: was its pod removed, or the mesh taken down?")
            }
        }
    }
}

/// Whoever reads our output may have seen enough; the command is then ended by our going.
fn write(output: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.context("cannot write what the command said"),
    }
}
