//! Containers: programs in a pod's network with files and processes of their own, and programs run beside them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use super::NodeError;
use super::mounts;
use super::place::{self, Place};
use super::pod::PodFiles;
use super::process::Process;
use super::record::Record;
use super::rootless;
use super::sys::{self, Arrangement};

/// The user that runs the sidecar, as in FSM; its traffic is not redirected.
pub const SIDECAR_USER: u32 = 1500;

/// Where programs without a slash are looked up, unless the environment says otherwise.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run as a container.
#[derive(Debug, Clone, Default)]
pub struct ContainerProcess {
    /// The program; without a slash it is looked up on the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments, without the program.
    pub args: Vec<String>,
    /// The whole environment. `PATH` and `HOSTNAME` are added where missing.
    pub env: Vec<(String, String)>,
    /// Working directory, as the container sees it; `None`: `/`.
    pub directory: Option<PathBuf>,
    /// Whom it runs as.
    pub user: User,
    /// Where its output goes.
    pub output: Output,
    /// What appears in its file system besides its own resolv.conf, hosts and hostname below `/etc`.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
}

/// A file or directory of the machine that appears in a container. The place is made if it is not there, without
/// changing the machine's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What appears; must exist.
    pub source: PathBuf,
    /// Where, absolute.
    pub target: PathBuf,
    /// Whether the container may not change it.
    pub read_only: bool,
}

/// Whom a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum User {
    /// As the node does.
    #[default]
    Node,
    /// As this user and group, without other groups. Where a node without root has only one user, as that one.
    Ids {
        /// User id.
        user: u32,
        /// Group id.
        group: u32,
    },
}

impl User {
    /// The sidecar's.
    pub const SIDECAR: Self = Self::Ids { user: SIDECAR_USER, group: SIDECAR_USER };

    fn ids(self) -> Option<(u32, u32)> {
        match self {
            Self::Ids { user, group } if rootless::maps_user(user) => Some((user, group)),
            _ => None,
        }
    }
}

/// Where a container's output goes, both of its streams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    /// Nowhere.
    #[default]
    Discard,
    /// Appended to this file, which is made if it is not there (0600). The node never shortens it.
    File(PathBuf),
    /// To where this program's own output goes.
    Inherit,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Open files; `None`: as many as this program itself.
    pub open_files: Option<u64>,
}

/// A container that runs, or has ended. Cheap to clone; it does not end with its handles but with its pod.
#[derive(Debug, Clone)]
pub struct Container {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    process: Arc<Process>,
    place: Place,
    env: Vec<(String, String)>,
    directory: PathBuf,
    user: User,
}

/// A program to run in a container beside its own.
#[derive(Debug)]
pub struct ExecRequest {
    /// The program and its arguments; at least the program.
    pub command: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// Working directory; `None`: the container's.
    pub directory: Option<PathBuf>,
    /// Whom it runs as; `None`: as the container.
    pub user: Option<User>,
    /// Its standard streams.
    pub io: ExecIo,
}

/// The standard streams of a program.
#[derive(Debug)]
pub enum ExecIo {
    /// Nothing to read; output is lost.
    Null,
    /// Pipes, to be found in [`Exec`]. Without `stdin` there is nothing to read.
    Pipes {
        /// Whether there is something to read.
        stdin: bool,
    },
    /// These descriptors, such as those of a client.
    Descriptors {
        /// To read from.
        stdin: OwnedFd,
        /// To write to.
        stdout: OwnedFd,
        /// To write complaints to.
        stderr: OwnedFd,
    },
    /// A new terminal of this size, to be found in [`Exec`].
    Terminal {
        /// Lines.
        rows: u16,
        /// Characters of a line.
        columns: u16,
    },
}

/// A program that runs in a container. It is ended (SIGKILL) when this is dropped, and when the container ends.
#[derive(Debug)]
pub struct Exec {
    process: Arc<Process>,
    /// With [`ExecIo::Pipes`]. Blocking; make it asynchronous with `tokio::process::ChildStdin::from_std`.
    pub stdin: Option<ChildStdin>,
    /// With [`ExecIo::Pipes`].
    pub stdout: Option<ChildStdout>,
    /// With [`ExecIo::Pipes`].
    pub stderr: Option<ChildStderr>,
    /// With [`ExecIo::Terminal`]: what is written here is typed, what is read here is on the screen. Reading fails with
    /// `EIO` when the program has ended.
    pub terminal: Option<File>,
}

impl Container {
    /// Process id as this program sees it.
    pub fn pid(&self) -> i32 {
        self.inner.process.pid()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.inner.process.ended()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Only if the program is out of descriptors.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        self.inner.process.wait().await
    }

    /// Sends a signal to its first process; tells whether it still ran. A first process ignores signals it does not
    /// handle, but for SIGKILL and SIGSTOP: see [`Container::ask`].
    pub fn signal(&self, signal: Signal) -> bool {
        self.inner.process.signal(signal)
    }

    /// Asks it to end (SIGTERM). If it has no handler for that, which outside of a container means its end, it is
    /// killed: waiting for it would be in vain. Tells whether it still ran.
    pub fn ask(&self) -> bool {
        let handled = self.inner.process.handles(Signal::SIGTERM);
        self.signal(if handled { Signal::SIGTERM } else { Signal::SIGKILL })
    }

    /// Ends it at once with all its processes; tells whether it still ran. Does not wait.
    pub fn kill(&self) -> bool {
        self.signal(Signal::SIGKILL)
    }

    /// Asks it to end, kills it after `grace`, and waits.
    ///
    /// # Errors
    ///
    /// As [`Container::wait`].
    pub async fn stop(&self, grace: Duration) -> io::Result<ExitStatus> {
        self.ask();
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.kill();
                self.wait().await
            }
        }
    }

    /// Runs a program in the container, with its network, files, processes and environment.
    ///
    /// # Errors
    ///
    /// [`NodeError::Start`] if the program is not there, or the container has ended.
    pub fn exec(&self, request: ExecRequest) -> Result<Exec, NodeError> {
        let inner = &self.inner;
        let mut words = request.command.into_iter();
        let Some(program) = words.next() else {
            return Err(NodeError::Start { program: String::new(), why: "no program is given".to_owned() });
        };
        if inner.process.ended().is_some() {
            return Err(NodeError::Start { program, why: "the container has ended".to_owned() });
        }
        let mut command = Command::new(&program);
        command.args(words).env_clear().envs(inner.env.iter().cloned()).envs(request.env);
        command.current_dir(request.directory.as_ref().unwrap_or(&inner.directory));
        let ([stdin, stdout, stderr], terminal) = request.io.streams().map_err(|why| failed(&program, &why))?;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let arrangement = Arrangement {
            first: false,
            terminal: terminal.is_some(),
            dies_with_thread: false,
            user: request.user.unwrap_or(inner.user).ids(),
            open_files: None,
        };
        sys::arrange(&mut command, arrangement);
        let mut child = inner.place.run(|| command.spawn())?.map_err(|why| failed(&program, &why))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Arc::new(Process::new(child).map_err(|why| failed(&program, &why))?);
        // From here on it is ended when dropped.
        let exec = Exec { process, stdin, stdout, stderr, terminal };
        Process::reap(&exec.process).map_err(|why| failed(&program, &why))?;
        Ok(exec)
    }

    pub(super) fn wait_blocking(&self) {
        self.inner.process.wait_blocking();
    }
}

impl Exec {
    /// Process id as this program sees it.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Only if the program is out of descriptors.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Sends a signal; tells whether it still ran.
    pub fn signal(&self, signal: Signal) -> bool {
        self.process.signal(signal)
    }

    /// Tells the program the new size of its terminal; without one nothing happens.
    ///
    /// # Errors
    ///
    /// Those of the kernel.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| sys::resize_terminal(terminal, rows, columns))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if self.process.signal(Signal::SIGKILL) {
            self.process.wait_blocking();
        }
    }
}

impl Output {
    fn streams(&self) -> Result<[Stdio; 2], NodeError> {
        match self {
            Self::Discard => Ok([Stdio::null(), Stdio::null()]),
            Self::Inherit => Ok([Stdio::inherit(), Stdio::inherit()]),
            Self::File(path) => {
                let open = || {
                    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
                    Ok([file.try_clone()?.into(), file.into()])
                };
                open().map_err(NodeError::file("open the log", path))
            }
        }
    }
}

impl ExecIo {
    fn streams(self) -> io::Result<([Stdio; 3], Option<File>)> {
        let streams = match self {
            Self::Null => [Stdio::null(), Stdio::null(), Stdio::null()],
            Self::Pipes { stdin: true } => [Stdio::piped(), Stdio::piped(), Stdio::piped()],
            Self::Pipes { stdin: false } => [Stdio::null(), Stdio::piped(), Stdio::piped()],
            Self::Descriptors { stdin, stdout, stderr } => [stdin.into(), stdout.into(), stderr.into()],
            Self::Terminal { rows, columns } => {
                let (outer, inner) = sys::open_terminal(rows, columns)?;
                let copies = [inner.try_clone()?.into(), inner.try_clone()?.into(), inner.into()];
                return Ok((copies, Some(outer)));
            }
        };
        Ok((streams, None))
    }
}

/// Starts a container, on a thread that lives as long as it does: the kernel ends the container with the thread, so also
/// when this program is killed. A thread that has once gone into a container could not come back without root.
pub(super) fn start(
    place: &Place,
    files: &PodFiles,
    record: &Record,
    process: ContainerProcess,
) -> Result<Container, NodeError> {
    let (answer, answered) = mpsc::channel();
    let (place, files, record) = (place.clone(), files.clone(), record.clone());
    let live = move || {
        let started = start_here(&place, &files, &record, process);
        let running = started.as_ref().ok().map(|container| Arc::clone(&container.inner.process));
        drop((place, files));
        let _ = answer.send(started);
        if let Some(running) = running {
            running.wait_forever();
        }
    };
    let thread = std::thread::Builder::new().name("fsm-container".to_owned()).spawn(live);
    thread.map_err(|why| NodeError::kernel("start a thread for a container", why))?;
    let lost = |_| NodeError::kernel("start a container", io::Error::other("its thread has ended"));
    answered.recv().map_err(lost)?
}

/// Moves the calling thread into the pod and starts the container there.
fn start_here(
    place: &Place,
    files: &PodFiles,
    record: &Record,
    process: ContainerProcess,
) -> Result<Container, NodeError> {
    let program = process.program.to_string_lossy().into_owned();
    let [stdout, stderr] = process.output.streams()?;
    let directory = process.directory.unwrap_or_else(|| PathBuf::from("/"));
    let mut env = process.env;
    for (name, value) in [("PATH", USUAL_PATH), ("HOSTNAME", files.hostname.as_str())] {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env.push(record.mark());
    // Kept open, for the container's own /proc will hide this thread.
    let namespaces = place::own_namespaces().map_err(|why| NodeError::kernel("look at this thread", why))?;
    let action = |what: &'static str| move |why: nix::Error| NodeError::kernel(what, why);
    unshare(CloneFlags::CLONE_NEWNS).map_err(action("give a container files of its own"))?;
    mounts::prepare(files, &process.mounts)?;
    place.enter().map_err(|why| NodeError::kernel("enter a pod", why))?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(action("give a container processes of its own"))?;
    let mut command = Command::new(&process.program);
    command.args(&process.args).env_clear().envs(env.iter().cloned()).current_dir(&directory);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let arrangement = Arrangement {
        first: true,
        terminal: false,
        dies_with_thread: true,
        user: process.user.ids(),
        open_files: process.limits.open_files,
    };
    sys::arrange(&mut command, arrangement);
    let child = command.spawn().map_err(|why| failed(&program, &why))?;
    let running = Process::new(child).map_err(|why| failed(&program, &why))?;
    let place = match Place::here("a container", &namespaces, place::ALL_KINDS) {
        Ok(place) => place,
        Err(why) => {
            running.signal(Signal::SIGKILL);
            running.wait_blocking();
            return Err(failed(&program, &why));
        }
    };
    let running = Arc::new(running);
    Ok(Container { inner: Arc::new(Inner { process: running, place, env, directory, user: process.user }) })
}

fn failed(program: &str, why: &io::Error) -> NodeError {
    let why = match why.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            "there is no such file, or no such working directory, or what interprets it is not there".to_owned()
        }
        io::ErrorKind::NotFound => {
            "there is no such program on the PATH of the container: install it on this machine".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!("{why}: is it executable, for the container's user too?"),
        _ => why.to_string(),
    };
    NodeError::Start { program: program.to_owned(), why }
}
