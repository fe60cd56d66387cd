//! Nothing is left behind, however the node ends.

use super::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

/// Where the program that is run again by these tests finds its state directory.
const STATE: &str = "FSM_NODE_TEST_STATE";

/// Runs one test of this very program alone, in a process of its own: `helper` below.
fn start_helper(state: &Path, user: Option<u32>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "local::node::tests::crash::helper", "--test-threads=1", "--nocapture", "--ignored"])
        .env(STATE, state)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
        // The test framework has threads, with which a program cannot move.
        sys::enter_first(&mut command, rootless::Entry::of(user, user));
    }
    command.spawn().unwrap()
}

/// Not a test by itself: makes a node with two pods and a Service in the directory it is told, tells when it is done,
/// and waits for its end.
#[test]
#[ignore = "run by the tests of this module in a process of its own"]
fn helper() {
    let state = std::path::PathBuf::from(std::env::var_os(STATE).expect("run by the other tests only"));
    assert_eq!(rootless::enter().unwrap(), rootless::Privilege::Given);
    let node = Node::create(NodeOptions::new("crash", &state)).unwrap();
    let (one, two) =
        ["one", "two"].map(|name| node.add_pod(PodNetwork::new(PodKey::new("shop", name))).unwrap()).into();
    two.spawn(process(&["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])).unwrap();
    let user = User::SIDECAR;
    one.spawn(ContainerProcess { user, ..process(&["sleep", "1000"]) }).unwrap();
    node.set_names(vec![NameRecord::addresses(
        "two.shop.svc.cluster.local",
        [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 2))],
    )]);
    node.set_services(&services(&two)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(exercise(&state, &one, &two));
    let aside = state.join("report.new");
    fs::write(&aside, report).unwrap();
    fs::rename(aside, state.join("report")).unwrap();
    loop {
        std::thread::park();
    }
}

/// One Service of the pod, among many of nobody.
fn services(pod: &PodNamespace) -> Vec<ServiceRule> {
    let rule = |number: u8, endpoints| ServiceRule {
        vip: Ipv4Addr::new(10, 96, 0, number),
        port: 80,
        protocol: Protocol::Tcp,
        endpoints,
    };
    let nobody = || (100..110).map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 244, 9, last), 80)).collect();
    let mut services: Vec<ServiceRule> = (50..250).map(|number| rule(number, nobody())).collect();
    services.push(rule(2, vec![SocketAddrV4::new(pod.address(), 8080)]));
    services
}

/// What works in this node, in words.
async fn exercise(state: &Path, one: &PodNamespace, two: &PodNamespace) -> String {
    greeter(two, 8080, "two");
    let vip = SocketAddr::from(([10, 96, 0, 2], 80));
    let through_service = greeting(one.connect(vip, PATIENCE).await).await.unwrap();
    let log = state.join("log");
    let token = state.join("token");
    fs::write(&token, "secret").unwrap();
    let program = ContainerProcess {
        output: Output::File(log.clone()),
        mounts: vec![Mount { source: token, target: "/fsm-test/token".into(), read_only: true }],
        ..process(&["sh", "-c", "id -u; hostname; getent ahostsv4 two | head -1; cat /fsm-test/token; echo $$"])
    };
    one.spawn(program).unwrap().wait().await.unwrap();
    let seen = fs::read_to_string(log).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    greeter(two, 15003, "inbound");
    let mut options = fsm_init::Options::default();
    if !rootless::maps_user(SIDECAR_USER) {
        let mark = fsm_init::PacketMark::new(0x5f5, u32::MAX).unwrap();
        options.proxy = fsm_init::ProxySelector::Mark(mark);
    }
    two.redirect(&options).unwrap();
    let redirected = greeting(one.connect(vip, PATIENCE).await).await.unwrap();
    let users = if rootless::maps_user(SIDECAR_USER) { "many" } else { "one" };
    format!("{users}|{through_service}|{seen}|{redirected}")
}

async fn report(state: &Path) -> String {
    let path = state.join("report");
    eventually("the helper has made its node", || path.exists()).await;
    fs::read_to_string(path).unwrap()
}

/// A directory that `user` may write to and nobody else may read.
fn state_of(user: Option<u32>) -> TempDir {
    let state = tempfile::Builder::new().prefix("fsm-node-crash-").tempdir().unwrap();
    if let Some(user) = user {
        std::os::unix::fs::chown(state.path(), Some(user), Some(user)).unwrap();
    }
    state
}

/// Runs the helper, kills it when all works, removes what is left and compares.
async fn crash(user: Option<u32>) -> Option<String> {
    if !may_run() {
        return None;
    }
    let state = state_of(user);
    let before = machine();
    let mut helper = start_helper(state.path(), user);
    let report = report(state.path()).await;
    assert_eq!(machine(), before, "a node changes nothing of the machine");
    let mark = state.path().join("node/node.json");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&mark).unwrap()).unwrap();
    let mark = format!("FSM_NODE={}", written["mark"].as_str().unwrap());
    assert!(processes_with(&mark).len() >= 3, "containers run");
    let refused = Node::destroy(state.path()).unwrap_err();
    assert!(matches!(refused, NodeError::InUse { pid, .. } if pid == helper.id() as i32), "{refused}");
    kill(Pid::from_raw(helper.id() as i32), Signal::SIGKILL).unwrap();
    helper.wait().unwrap();
    eventually("containers die with the program", || processes_with(&mark).is_empty()).await;
    Node::destroy(state.path()).unwrap();
    assert!(!state.path().join("node").exists());
    assert_eq!(machine(), before);
    Node::destroy(state.path()).unwrap();
    Some(report)
}

#[tokio::test]
async fn nothing_is_left_of_a_node_whose_program_was_killed() {
    let Some(report) = crash(None).await else { return };
    assert_eq!(
        report,
        "many|two 10.244.0.2|0 one 10.96.0.2 STREAM two.shop.svc.cluster.local secret1|inbound 10.244.0.2"
    );
}

#[tokio::test]
async fn everything_works_without_root_and_nothing_is_left() {
    const NOBODY: u32 = 65534;
    let Some(report) = crash(Some(NOBODY)).await else { return };
    assert_eq!(
        report,
        "one|two 10.244.0.2|0 one 10.96.0.2 STREAM two.shop.svc.cluster.local secret1|inbound 10.244.0.2"
    );
}

#[tokio::test]
async fn what_survives_a_crash_is_found_by_its_mark_and_ended() {
    if !may_run() {
        return;
    }
    let state = state_of(None);
    let mark = "0123456789abcdef";
    let directory = state.path().join("node");
    fs::create_dir(&directory).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    // A creator that has ended: the id is this process's, the start time is not.
    let creator = serde_json::json!({"pid": std::process::id(), "started": 1});
    let written = serde_json::json!({"creator": creator, "boot": boot.trim(), "mark": mark});
    fs::write(directory.join("node.json"), written.to_string()).unwrap();
    let mut survivor = Command::new("sleep").arg("1000").env("FSM_NODE", mark).spawn().unwrap();
    let mut stranger = Command::new("sleep").arg("1000").env("FSM_NODE", "another").spawn().unwrap();
    // The copy of this process has its environment for a moment: wait until both are what they shall be.
    eventually("it has the mark", || processes_with(&format!("FSM_NODE={mark}")) == [survivor.id() as i32]).await;
    // It is this process's child: somebody must wait for it, or it stays as a zombie (which counts as ended).
    Node::destroy(state.path()).unwrap();
    assert!(!survivor.wait().unwrap().success());
    assert!(stranger.try_wait().unwrap().is_none(), "a process of another mesh lives on");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn closing_a_node_ends_everything_and_removes_its_files() {
    let before = machine();
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "one");
    let mark = ground.state.path().display().to_string();
    let mut program = process(&["sleep", "1000"]);
    program.env = vec![("WHO".to_owned(), mark.clone())];
    pod.spawn(program.clone()).unwrap();
    ground.node.spawn(program.clone()).unwrap();
    let why = Node::create(NodeOptions::new("second", ground.state.path())).unwrap_err();
    assert!(matches!(why, NodeError::InUse { .. }), "{why}");
    assert_eq!(processes_with(&mark).len(), 2);
    ground.node.close();
    assert!(processes_with(&mark).is_empty(), "they are gone when it returns");
    assert!(!ground.state.path().join("node").exists());
    assert!(pod.spawn(program).is_err());
    assert_eq!(machine(), before);
    let again = Node::create(NodeOptions::new("test", ground.state.path())).unwrap();
    drop(again);
    assert!(!ground.state.path().join("node").exists());
}
