//! The choice of the variant, and the cause read from a tool's complaint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn found(backend: Backend, family: Family, listing: Option<&str>) -> Survey {
    let tools = Tools { backend, family, save: PathBuf::new(), restore: PathBuf::new() };
    observed(tools, listing)
}

const EMPTY: Option<&str> = Some("");
const SOME: Option<&str> = Some("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n");
const KUBELET: Option<&str> = Some("*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
const OURS: Option<&str> = Some("*nat\n:FSM_PROXY_INBOUND - [0:0]\nCOMMIT\n");

fn choose(choice: BackendChoice, nft: Option<&str>, legacy: Option<&str>) -> Vec<Backend> {
    let surveys = [
        found(Backend::Nft, Family::V4, nft),
        found(Backend::Nft, Family::V6, EMPTY),
        found(Backend::Legacy, Family::V4, legacy),
        found(Backend::Legacy, Family::V6, EMPTY),
    ];
    candidates(choice, &surveys)
}

#[test]
fn the_variant_in_use_wins() {
    use Backend::{Legacy, Nft};
    let auto = |nft, legacy| choose(BackendChoice::Auto, nft, legacy);
    assert_eq!(auto(EMPTY, EMPTY), [Nft, Legacy], "nothing known: both may be tried");
    assert_eq!(auto(SOME, EMPTY), [Nft]);
    assert_eq!(auto(EMPTY, SOME), [Legacy]);
    assert_eq!(auto(KUBELET, SOME), [Nft], "kubelet's word counts more than a number of rules");
    assert_eq!(auto(SOME, KUBELET), [Legacy]);
    assert_eq!(auto(KUBELET, OURS), [Legacy], "our own earlier choice is kept");
    assert_eq!(auto(OURS, KUBELET), [Nft]);
}

#[test]
fn an_explicit_choice_is_obeyed() {
    assert_eq!(choose(BackendChoice::Legacy, OURS, EMPTY), [Backend::Legacy]);
    assert_eq!(choose(BackendChoice::Nft, EMPTY, OURS), [Backend::Nft]);
    let only_nft = [found(Backend::Nft, Family::V4, EMPTY)];
    assert_eq!(candidates(BackendChoice::Legacy, &only_nft), []);
    assert_eq!(candidates(BackendChoice::Auto, &only_nft), [Backend::Nft]);
    assert_eq!(candidates(BackendChoice::Auto, &[]), []);
}

#[test]
fn without_nftables_in_the_kernel_legacy_is_used() {
    let surveys = [
        found(Backend::Nft, Family::V4, None),
        found(Backend::Nft, Family::V6, None),
        found(Backend::Legacy, Family::V4, EMPTY),
    ];
    assert_eq!(candidates(BackendChoice::Auto, &surveys), [Backend::Legacy]);
}

#[test]
fn complaints_of_the_tools_become_reason_codes() {
    let cases = [
        (
            "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
            "init.permission",
            4,
        ),
        ("Fatal: can't open lock file /run/xtables.lock: Permission denied", "init.permission", 4),
        (
            "Another app is currently holding the xtables lock; still 9s 0us time ahead to have a chance to grab the lock...",
            "init.timeout",
            6,
        ),
        (
            "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'\n\nError occurred at line: 1",
            "init.kernel-support",
            5,
        ),
        (
            "ip6tables-restore v1.8.9 (legacy): can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)",
            "init.kernel-support",
            5,
        ),
        ("iptables: Failed to initialize nft: Protocol not supported", "init.kernel-support", 5),
        (
            "iptables-restore v1.8.9 (nf_tables): \nline 9: RULE_APPEND failed (No such file or directory): rule in chain OUTPUT",
            "init.kernel-support",
            5,
        ),
        ("Warning: Extension owner revision 0 not supported, missing kernel module?\n", "init.kernel-support", 5),
        ("iptables-restore: line 7 failed", "init.refused", 7),
        ("", "init.refused", 7),
    ];
    for (complaint, code, exit) in cases {
        let error = failure(Path::new("/sbin/iptables-restore"), complaint, Duration::from_secs(9));
        assert_eq!((error.code(), error.exit_code()), (code, exit), "{complaint}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn restore_is_told_not_to_flush_and_how_long_to_wait() {
    assert_eq!(restore_arguments(Duration::from_secs(7)), ["--noflush", "-w", "7"]);
}
