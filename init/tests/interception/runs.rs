//! Run after run: idempotence, foreign rules, cleaning, dry runs, use as a library.

use std::fs;
use std::process::Stdio;

use fsm_init::{Flags, Options};

use crate::pod::{PEER_V4, POD_V4, POD_V6, Pod, init_command};
use crate::{APPLICATION, backends, scratch};

#[test]
fn running_again_gives_the_same_rules() {
    for backend in backends() {
        let pod = Pod::new();
        let arguments = [
            "--backend",
            backend,
            "--pod-ip=10.99.0.2,fd99::2",
            "--outbound-exclude-cidr=10.50.0.0/16",
            "--outbound-exclude-port=25,443",
            "--inbound-exclude-port=22",
            "--exclude-interface=eth1",
        ];
        pod.init(&arguments);
        let once = pod.rules(backend);
        pod.init(&arguments);
        pod.init(&arguments);
        assert_eq!(pod.rules(backend), once);
        assert_eq!(count(&once, "-j FSM_PROXY_OUTBOUND"), 2, "{once:#?}");
        // Without being told, a later run stays with the variant in use.
        pod.init(&arguments[2..]);
        assert_eq!(pod.rules(backend), once);
    }
}

#[test]
fn runs_at_the_same_time_do_not_double_anything() {
    for backend in backends() {
        let pod = Pod::new();
        let children = pod.pod.run(move || {
            [(); 6].map(|()| {
                let mut command = init_command(&["--backend", backend]);
                command.stderr(Stdio::piped()).spawn().unwrap()
            })
        });
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let rules = pod.rules(backend);
        assert_eq!(count(&rules, "-A PREROUTING"), 2, "{rules:#?}");
        assert_eq!(count(&rules, "-A OUTPUT"), 2, "{rules:#?}");
    }
}

#[test]
fn foreign_rules_survive_and_cleaning_leaves_the_tables_as_before() {
    for backend in backends() {
        let pod = Pod::new();
        for line in [
            "iptables -t nat -N DOCKER",
            "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
            "iptables -t nat -A OUTPUT -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1000 -j DNAT --to-destination 10.9.9.9",
            "iptables -t nat -A OUTPUT -d 203.0.113.0/24 -p tcp -j REDIRECT --to-ports 7",
            "iptables -t filter -A INPUT -p udp --dport 9 -j DROP",
            "iptables -t mangle -A OUTPUT -p udp -j MARK --set-xmark 0x1/0xff",
            "ip6tables -t nat -A POSTROUTING -s fd77::/16 -j MASQUERADE",
        ] {
            let (base, rest) = line.split_once(' ').unwrap();
            pod.pod.tool(&format!("{base}-{backend} {rest}"));
        }
        let before = pod.rules(backend);
        pod.init(&["--pod-ip=10.99.0.2,fd99::2"]);
        let applied = pod.rules(backend);
        assert!(before.iter().all(|line| applied.contains(line)), "{applied:#?}");
        assert!(applied.len() > before.len(), "auto did not choose {backend}, which is in use");

        // Rules that come later, before and after ours, keep their places as well.
        pod.pod.tool(&format!("iptables-{backend} -t nat -I OUTPUT -p tcp --dport 1 -j ACCEPT"));
        pod.pod.tool(&format!("iptables-{backend} -t nat -A OUTPUT -p tcp --dport 2 -j ACCEPT"));
        let extended = pod.rules(backend);
        pod.init(&["--pod-ip=10.99.0.2,fd99::2"]);
        assert_eq!(pod.rules(backend), extended);

        pod.init(&["--clean"]);
        pod.pod.tool(&format!("iptables-{backend} -t nat -D OUTPUT -p tcp --dport 1 -j ACCEPT"));
        pod.pod.tool(&format!("iptables-{backend} -t nat -D OUTPUT -p tcp --dport 2 -j ACCEPT"));
        assert_eq!(pod.rules(backend), before);
        pod.init(&["--clean"]);
        assert_eq!(pod.rules(backend), before);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "peer 10.99.0.1:80");
        assert_eq!(pod.peer_dials(POD_V6, 8080), "application [fd99::2]:8080");
    }
}

#[test]
fn rules_made_by_fsms_own_script_are_taken_over_and_cleaned() {
    // Applied twice, as when its container restarts: hooks are doubled then.
    const SCRIPT: &str = "*nat\n:FSM_PROXY_INBOUND - [0:0]\n:FSM_PROXY_IN_REDIRECT - [0:0]\n:FSM_PROXY_OUTBOUND - [0:0]\n:FSM_PROXY_OUT_REDIRECT - [0:0]\n\
        -A FSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port 15003\n-A PREROUTING -p tcp -j FSM_PROXY_INBOUND\n\
        -A FSM_PROXY_INBOUND -p tcp -j FSM_PROXY_IN_REDIRECT\n-A FSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-port 15001\n\
        -A FSM_PROXY_OUT_REDIRECT -p tcp --dport 15000 -j ACCEPT\n-A OUTPUT -p tcp -j FSM_PROXY_OUTBOUND\n\
        -A FSM_PROXY_OUTBOUND -m owner --uid-owner 1500 -j RETURN\n\
        -I OUTPUT -p tcp -o lo -d 127.0.0.1/32 -m owner --uid-owner 1500 -j DNAT --to-destination 10.99.0.2\n\
        -A FSM_PROXY_OUTBOUND -j FSM_PROXY_OUT_REDIRECT\nCOMMIT\n";
    for backend in backends() {
        let pod = Pod::new();
        let directory = scratch(&format!("fsm-script-{backend}"), &[]);
        let script = directory.join("rules");
        fs::write(&script, SCRIPT).unwrap();
        let load = format!("iptables-{backend}-restore --noflush {}", script.display());
        pod.pod.tool(&load);
        pod.pod.tool(&load);
        assert_eq!(count(&pod.rules(backend), "-A OUTPUT"), 4);
        pod.init(&[]);
        let taken_over = pod.rules(backend);
        let fresh = Pod::new();
        fresh.init(&["--backend", backend]);
        assert_eq!(taken_over, fresh.rules(backend));

        let pod = Pod::new();
        pod.pod.tool(&load);
        pod.pod.tool(&load);
        pod.init(&["--clean"]);
        assert_eq!(pod.rules(backend), [""; 0]);
    }
}

#[test]
fn changing_the_variant_moves_the_rules() {
    let [first, second] = backends()[..] else {
        return;
    };
    for (from, to) in [(first, second), (second, first)] {
        let pod = Pod::new();
        pod.init(&["--backend", from, "--pod-ip", POD_V4]);
        let rules = pod.rules(from);
        pod.init(&["--backend", to, "--pod-ip", POD_V4]);
        assert_eq!(pod.rules(from), [""; 0]);
        assert_eq!(pod.rules(to), rules);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
    }
}

#[test]
fn a_dry_run_prints_what_is_fed_to_restore_and_changes_nothing() {
    for backend in backends() {
        let pod = Pod::new();
        let arguments = ["--backend", backend, "--pod-ip", POD_V4, "--inbound-exclude-port=22"];
        let printed = pod.init(&[&arguments[..], &["--dry-run"]].concat());
        assert_eq!(pod.rules(backend), [""; 0]);

        // Fed by hand, it gives the same rules.
        let directory = scratch(&format!("dry-run-{backend}"), &[]);
        let by_hand = Pod::new();
        for part in printed.split("# ").filter(|part| !part.is_empty()) {
            let (command, text) = part.split_once('\n').unwrap();
            let file = directory.join(command.split(' ').next().unwrap());
            fs::write(&file, text).unwrap();
            by_hand.pod.tool(&format!("{command} {}", file.display()));
        }
        pod.init(&arguments);
        assert_eq!(pod.rules(backend), by_hand.rules(backend));

        let printed = pod.init(&["--dry-run", "--clean"]);
        assert_eq!(printed.matches("-X FSM_PROXY_OUTBOUND").count(), 2, "{printed}");
        assert_eq!(pod.rules(backend), by_hand.rules(backend));
    }
}

#[test]
fn as_a_library_it_works_on_the_namespace_of_the_calling_thread() {
    for backend in backends() {
        let pod = Pod::new();
        let flags = Flags { backend: Some(backend.to_owned()), ..Flags::default() };
        let options = Options::try_from(flags).unwrap();
        let applied = options.clone();
        let outcome = pod.pod.run(move || fsm_init::apply(&applied)).unwrap();
        assert!(outcome.ipv6);
        assert_eq!(outcome.notes, [""; 0]);
        assert_eq!(pod.pod_dials(APPLICATION, PEER_V4, 80), "outbound 10.99.0.1:80");
        pod.pod.run(move || fsm_init::clean(&options)).unwrap();
        assert_eq!(pod.rules(backend), [""; 0]);
    }
}

fn count(rules: &[String], text: &str) -> usize {
    rules.iter().filter(|rule| rule.contains(text)).count()
}
