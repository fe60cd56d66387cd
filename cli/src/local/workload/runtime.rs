//! What the controllers ask of the node that runs pods, and what the node tells them.
//!
//! The controllers never wait: they hand over an [`Action`] and go on; its outcome arrives later as a [`Report`]. So
//! the same controllers run on the real node and in a simulation. A runtime answers every action with exactly the
//! reports named there, also when it fails, and never in the call itself. Reports about a pod that has been torn down
//! are ignored.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Carries out actions on the node.
pub trait Runtime {
    /// Begins an action. Must not block; outcomes arrive as [`Report`]s on the channel that the runtime was made with.
    fn begin(&mut self, action: Action);
}

/// One run of a pod. A pod that is replaced by another of the same name has another uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// `metadata.uid`, unique for ever.
    pub uid: String,
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One start of one container: restarts count up, so that a late report about an earlier start is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// The pod.
    pub pod: PodId,
    /// Name of the container in the pod.
    pub container: String,
    /// 0 for the first start.
    pub start: u32,
}

/// What the node shall do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the pod's namespaces and give it an address. Answer: [`Report::PodUp`] or [`Report::PodFailed`].
    SetUp {
        /// The pod.
        pod: PodId,
        /// What `hostname` says inside.
        hostname: String,
        /// Other names of the pod's own address.
        names: Vec<String>,
    },
    /// Start a process in the pod. Answer: [`Report::Started`], then once [`Report::Exited`]; or [`Report::StartFailed`].
    Start {
        /// Which start of which container.
        id: ContainerId,
        /// What to run.
        process: Box<Process>,
    },
    /// Ask a container's process to end, or end it. Answer: [`Report::Exited`], unless it has ended before.
    Stop {
        /// Which start of which container.
        id: ContainerId,
        /// How.
        how: Stop,
    },
    /// Look once whether a container answers. Answer: [`Report::Checked`].
    Check {
        /// Which start of which container.
        id: ContainerId,
        /// Given back in the report.
        ticket: u64,
        /// What to look at.
        check: Check,
        /// When to give up, which counts as a failure.
        timeout: Duration,
    },
    /// End whatever still runs in the pod and remove its namespaces and address. Answer: [`Report::Gone`].
    TearDown {
        /// The pod.
        pod: PodId,
    },
}

/// What has happened on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The pod has its namespaces and these addresses, the first of them being `status.podIP`.
    PodUp {
        /// The pod.
        pod: PodId,
        /// At least one.
        addresses: Vec<IpAddr>,
    },
    /// The pod could not be set up; nothing of it is left. It is tried again later.
    PodFailed {
        /// The pod.
        pod: PodId,
        /// Why, and what to do.
        why: String,
    },
    /// The process runs.
    Started {
        /// Which start of which container.
        id: ContainerId,
    },
    /// The process could not be started.
    StartFailed {
        /// Which start of which container.
        id: ContainerId,
        /// A word such as `CreateContainerError`.
        reason: String,
        /// Why, and what to do.
        why: String,
    },
    /// The process has ended.
    Exited {
        /// Which start of which container.
        id: ContainerId,
        /// How it ended.
        exit: Exit,
    },
    /// A check has ended.
    Checked {
        /// Which start of which container.
        id: ContainerId,
        /// The ticket of the action.
        ticket: u64,
        /// What was wrong, if anything.
        outcome: Result<(), String>,
    },
    /// Nothing of the pod is left.
    Gone {
        /// The pod.
        pod: PodId,
    },
}

/// A process to start in a pod. Its output goes to the container's log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// The program and its arguments, at least the program. A program without a slash is looked up on the `PATH` of
    /// the process.
    pub command: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Working directory; `None`: a directory of the pod's own.
    pub directory: Option<String>,
    /// Whose traffic it makes.
    pub user: User,
    /// Files and directories that appear in the container.
    pub mounts: Vec<Mount>,
}

/// The user that a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum User {
    /// An application: everything but the sidecar.
    #[default]
    Application,
    /// The sidecar (uid 1500 where the node can map it), whose traffic the redirection leaves alone.
    Sidecar,
    /// Whom the container's security context names.
    Ids {
        /// User id.
        user: u32,
        /// Group id.
        group: u32,
    },
    /// The redirection. There is no process: the runtime reads the command as that of `fsm-init`, does what it says, and
    /// reports a start and an end.
    Redirection,
}

/// A file or directory that appears in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What appears there.
    pub source: MountSource,
    /// Where it appears, absolute.
    pub target: PathBuf,
    /// Whether the container may not change it.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A volume made of objects, which goes on to say what they say.
    Volume(Volume),
    /// A directory of files with these names and contents, as they were at the start (`subPath` of such a volume).
    Files(Vec<(String, Vec<u8>)>),
    /// One file (`subPath` of such a volume).
    File(Vec<u8>),
    /// A directory that the pod's containers share and that ends with the pod.
    Shared(String),
    /// A file or directory of the machine.
    Host(PathBuf),
}

/// A volume whose files come from objects (ConfigMap, Secret, downward API) and from whoever issues tokens. All
/// containers that mount it see one directory.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// Files with their contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files with tokens. The runtime has them issued, and renewed in time.
    pub tokens: Vec<TokenWish>,
}

/// A token that says that its bearer is this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWish {
    /// The file, below the volume.
    pub path: String,
    /// The pod's service account.
    pub service_account: String,
    /// Whom it is for; `None`: the API server.
    pub audience: Option<String>,
    /// How long it is to be good.
    pub lifetime: Duration,
}

/// How a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM.
    Ask,
    /// SIGKILL to everything that the container has started.
    Kill,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// As `containerStatuses[].state.terminated.exitCode` has it: 128 and the signal's number for signals.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// One look at a container, or one of its hooks. On one machine network checks are made **inside the pod**, where the
/// redirection leaves them alone: the application's own port answers, not the sidecar, whatever the mesh's policy is. On
/// a node of a cluster they come from the node, as a kubelet's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A GET that must be answered with 200–399.
    Http {
        /// Where.
        address: SocketAddr,
        /// Path with query.
        path: String,
        /// Headers to send.
        headers: Vec<(String, String)>,
        /// TLS without looking at the certificate, as the kubelet does.
        tls: bool,
    },
    /// A TCP connection must be accepted.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// A program must exit with 0. It runs with the environment of the container.
    Exec(Box<Process>),
}
