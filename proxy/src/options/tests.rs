#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::upstream::gateway::Mode;
use clap::CommandFactory;
use std::os::unix::ffi::OsStringExt;

const REPO: &str = "http://fsm-controller.fsm-system:6060/repo/fsm-sidecar/0b9e.sidecar.web.shop/";

fn parse_with(line: &[&str], env: &[(&str, &str)]) -> Result<Invocation, UsageError> {
    Options::parse(line.iter().map(OsString::from), |name| {
        env.iter().find(|(variable, _)| *variable == name).map(|(_, value)| OsString::from(value))
    })
}

fn serve_with(line: &[&str], env: &[(&str, &str)]) -> Options {
    match parse_with(line, env) {
        Ok(Invocation::Serve(options)) => *options,
        other => panic!("{line:?} {env:?} gives {other:?}"),
    }
}

fn serve(line: &[&str]) -> Options {
    serve_with(line, &[])
}

/// Our own form with a file and some more flags.
fn with(flags: &[&str]) -> Options {
    serve(&[&["fsm-proxy", "--config", "c.json"], flags].concat())
}

fn refusal(line: &[&str]) -> String {
    parse_with(line, &[]).expect_err(&format!("{line:?}")).to_string()
}

fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn file_and_defaults() {
    let options = with(&[]);
    let expected = Options {
        source: Source::File("c.json".into()),
        outbound_listen: sockets(&["0.0.0.0:15001", "[::]:15001"]),
        inbound_listen: sockets(&["0.0.0.0:15003", "[::]:15003"]),
        admin_listen: sockets(&["127.0.0.1:15000", "[::1]:15000"]),
        admin_port: None,
        prometheus_listen: sockets(&["0.0.0.0:15010", "[::]:15010"]),
        probe_listen_address: vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
        dns_listen: Vec::new(),
        gateway: None,
        upstream_mark: None,
        workers: None,
        runtime: RuntimeFlavor::PerCore,
        cache_dir: None,
        log_level: LogLevel::Info,
        log_level_pinned: false,
        log_format: LogFormat::Text,
        drain_min: limits::DRAIN_MIN,
        drain_max: limits::DRAIN_MAX,
        notes: vec![],
    };
    assert_eq!(options, expected);
    assert!(options.worker_threads().get() >= 1);
}

#[test]
fn command_line_of_fsms_injector() {
    // As `pipy` itself, behind an entry point that is fsm-proxy, and without the name.
    let flags = ["--log-level=error", "--admin-port=6060", REPO];
    for start in [&["/usr/local/bin/pipy"][..], &["fsm-proxy", "pipy"], &["/bin/fsm-proxy"]] {
        let options = serve(&[start, &flags].concat());
        let url = RepoUrl {
            host: "fsm-controller.fsm-system".into(),
            port: 6060,
            path: "/repo/fsm-sidecar/0b9e.sidecar.web.shop/".into(),
        };
        assert_eq!(options.source, Source::Repo(url));
        assert_eq!(options.log_level, LogLevel::Error);
        assert!(!options.log_level_pinned, "the document's SidecarLogLevel goes on to rule");
        assert_eq!(options.admin_port, Some(6060));
        assert_eq!(options.notes, Vec::<String>::new());
        assert_eq!(options.admin_listen, sockets(&["127.0.0.1:15000", "[::1]:15000"]));
    }
}

#[test]
fn pipys_levels_are_known_with_their_topics() {
    let levels = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
        ("error:thread", LogLevel::Error),
        ("debug:http+tls", LogLevel::Debug),
        ("trace", LogLevel::Trace),
        ("fatal", LogLevel::Error),
        ("disabled", LogLevel::Disabled),
        ("ERROR", LogLevel::Error),
    ];
    for (text, level) in levels {
        assert_eq!(serve(&["pipy", &format!("--log-level={text}"), REPO]).log_level, level, "{text}");
        assert_eq!(text.parse(), Ok(level));
    }
    for level in ["trace", "debug", "info", "warn", "error", "disabled"] {
        assert_eq!(level.parse::<LogLevel>().unwrap().to_string(), level);
    }
    assert_eq!(LogLevel::Disabled.filter(), tracing::level_filters::LevelFilter::OFF);
    assert_eq!(LogLevel::Warn.filter(), tracing::level_filters::LevelFilter::WARN);
}

#[test]
fn harmless_flags_of_pipy_are_accepted_with_a_note() {
    let flags = ["--reuse-port", "--skip-unfinished", "--no-graph", "--log-history-limit=1000", "--instance-uuid=a"];
    let options = serve(&[&["pipy"], &flags[..], &[REPO]].concat());
    assert_eq!(options.notes.len(), flags.len());
    for (note, flag) in options.notes.iter().zip(flags) {
        let flag = flag.split('=').next().unwrap();
        assert!(note.starts_with(&format!("Pipy's {flag} has no effect: ")), "{note}");
    }
}

#[test]
fn threads_of_pipy_are_workers() {
    let workers = |flags: &[&str]| serve(&[&["pipy"], flags, &[REPO]].concat()).workers.map(NonZeroUsize::get);
    assert_eq!(workers(&["--threads=3"]), Some(3));
    assert_eq!(workers(&["--threads=max"]), None);
    assert_eq!(workers(&["--threads=3", "--workers=2"]), Some(2), "our own flag wins");
    assert!(refusal(&["pipy", "--threads=many", REPO]).starts_with("--threads many: "));
}

#[test]
fn flags_of_pipy_that_cannot_be_ignored_are_refused() {
    for flag in ["--tls-cert=a", "--tls-trusted=b", "--admin-tls-key=c", "--init-repo=d", "-e", "--openssl-engine=e"] {
        let text = refusal(&["pipy", flag, REPO]);
        assert!(text.starts_with(&format!("{flag}: ")), "{text}");
        assert!(text.contains("; "), "no remedy: {text}");
    }
    let text = refusal(&["fsm-proxy", "--config", "c.json", "--reuse-port"]);
    assert!(text.contains("--reuse-port"), "Pipy's flags belong to Pipy's form: {text}");
    let text = refusal(&["pipy", "--unheard-of", REPO]);
    assert!(text.contains("--unheard-of"), "{text}");
}

#[test]
fn flags_and_their_values() {
    let options = with(&[
        "--outbound-listen=127.0.0.1:1",
        "--outbound-listen=[::1]:2",
        "--inbound-listen=4003,[::1]:5",
        "--admin-listen=127.0.0.1:6",
        "--prometheus-listen=off",
        "--probe-listen-address=127.0.0.1,::1",
        "--upstream-mark=77",
        "--workers=4",
        "--runtime=work-stealing",
        "--cache-dir=/var/cache/fsm",
        "--log-level=warn",
        "--log-format=json",
        "--drain-min=1500ms",
        "--drain-max=2m",
    ]);
    assert_eq!(options.outbound_listen, sockets(&["127.0.0.1:1", "[::1]:2"]));
    assert_eq!(options.inbound_listen, sockets(&["0.0.0.0:4003", "[::]:4003", "[::1]:5"]));
    assert_eq!(options.admin_listen, sockets(&["127.0.0.1:6"]));
    assert_eq!(options.prometheus_listen, sockets(&[]));
    assert_eq!(options.probe_listen_address, ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    assert_eq!(options.upstream_mark, Some(77));
    assert_eq!(options.workers.map(NonZeroUsize::get), Some(4));
    assert_eq!(options.worker_threads().get(), 4);
    assert_eq!(options.runtime, RuntimeFlavor::WorkStealing);
    assert_eq!(options.cache_dir, Some("/var/cache/fsm".into()));
    assert_eq!((options.log_level, options.log_level_pinned), (LogLevel::Warn, true));
    assert_eq!(options.log_format, LogFormat::Json);
    assert_eq!((options.drain_min, options.drain_max), (Duration::from_millis(1500), Duration::from_secs(120)));
}

#[test]
fn every_flag_has_a_variable_and_wins_over_it() {
    let env = [
        ("FSM_PROXY_CONFIG", "e.json"),
        ("FSM_PROXY_OUTBOUND_LISTEN", "127.0.0.1:1, [::1]:2"),
        ("FSM_PROXY_INBOUND_LISTEN", "127.0.0.1:3"),
        ("FSM_PROXY_ADMIN_LISTEN", "127.0.0.1:4"),
        ("FSM_PROXY_ADMIN_PORT", "6060"),
        ("FSM_PROXY_PROMETHEUS_LISTEN", "off"),
        ("FSM_PROXY_PROBE_LISTEN_ADDRESS", "off"),
        ("FSM_PROXY_DNS_LISTEN", "127.0.0.1:7"),
        ("FSM_PROXY_GATEWAY_LISTEN", "127.0.0.1:6"),
        ("FSM_PROXY_GATEWAY_MODE", "sock5"),
        ("FSM_PROXY_GATEWAY_PLAINTEXT", "yes"),
        ("FSM_PROXY_GATEWAY_ALLOW", "*.example.org:443"),
        ("FSM_PROXY_UPSTREAM_MARK", "0x5dc"),
        ("FSM_PROXY_WORKERS", "7"),
        ("FSM_PROXY_RUNTIME", "work-stealing"),
        ("FSM_PROXY_CACHE_DIR", "/c"),
        ("FSM_PROXY_LOG_LEVEL", "debug"),
        ("FSM_PROXY_LOG_FORMAT", "json"),
        ("FSM_PROXY_DRAIN_MIN", "1"),
        ("FSM_PROXY_DRAIN_MAX", "9"),
    ];
    let expected = Options {
        source: Source::File("e.json".into()),
        outbound_listen: sockets(&["127.0.0.1:1", "[::1]:2"]),
        inbound_listen: sockets(&["127.0.0.1:3"]),
        admin_listen: sockets(&["127.0.0.1:4"]),
        admin_port: Some(6060),
        prometheus_listen: vec![],
        probe_listen_address: vec![],
        dns_listen: sockets(&["127.0.0.1:7"]),
        gateway: Some(GatewayOptions {
            listen: sockets(&["127.0.0.1:6"]),
            mode: Mode::Socks5,
            plaintext: true,
            permits: vec!["*.example.org:443".parse().unwrap()],
        }),
        upstream_mark: Some(1500),
        workers: NonZeroUsize::new(7),
        runtime: RuntimeFlavor::WorkStealing,
        cache_dir: Some("/c".into()),
        log_level: LogLevel::Debug,
        log_level_pinned: true,
        log_format: LogFormat::Json,
        drain_min: Duration::from_secs(1),
        drain_max: Duration::from_secs(9),
        notes: vec![],
    };
    assert_eq!(serve_with(&["fsm-proxy"], &env), expected);
    let typed = serve_with(&["fsm-proxy", "--config=f.json", "--workers=1", "--admin-listen=5"], &env);
    assert_eq!(typed.source, Source::File("f.json".into()));
    assert_eq!(typed.workers.map(NonZeroUsize::get), Some(1));
    assert_eq!(typed.admin_listen, sockets(&["127.0.0.1:5", "[::1]:5"]));
    // One variable for each flag; the URL's is FSM_PROXY_REPO, and fsm-control is another source than a file.
    let flags = raw::ServeFlags::command().get_arguments().count();
    assert_eq!(flags, env.len() + 1 + CONTROL_ENV.len(), "a flag is missing in this test");
}

const CONTROL_ENV: [(&str, &str); 4] = [
    ("FSM_PROXY_CONTROL", "https://control:7"),
    ("FSM_PROXY_CONTROL_CA", "/e/ca.pem"),
    ("FSM_PROXY_CONTROL_TOKEN", "/e/token"),
    ("FSM_PROXY_CONTROL_NAME", "control.example"),
];

const POD_ENV: [(&str, &str); 3] = [("POD_NAMESPACE", "shop"), ("POD_NAME", "web-0"), ("POD_UID", "u-1")];

fn control_source(options: Options) -> ControlOptions {
    match options.source {
        Source::Control(control) => *control,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fsm_control_as_a_source() {
    let env = [&CONTROL_ENV[..], &POD_ENV].concat();
    let expected = ControlOptions {
        address: "https://control:7".parse().unwrap(),
        ca: "/e/ca.pem".into(),
        token: "/e/token".into(),
        name: "control.example".into(),
        pod: Pod { namespace: "shop".into(), name: "web-0".into(), uid: "u-1".into() },
        mark: None,
    };
    assert_eq!(control_source(serve_with(&["fsm-proxy"], &env)), expected);

    let line = ["fsm-proxy", "--control", "https://c:1", "--control-ca=a", "--control-token=t", "--upstream-mark=9"];
    let options = serve_with(&[&line[..], &["--log-level=warn"]].concat(), &POD_ENV[..2]);
    assert!(options.log_level_pinned, "this is not Pipy's command line, although it has a URL");
    let control = control_source(options);
    assert_eq!(control.name, "fsm-controller.fsm-system.svc");
    assert_eq!((control.pod.uid.as_str(), control.mark), ("", Some(9)));
    assert_eq!(control.cache_owner(), "https://c:1 pod shop/web-0 ");

    let typed = serve_with(&["fsm-proxy", "--config=f.json"], &env);
    assert_eq!(typed.source, Source::File("f.json".into()), "a flag wins over a variable");
    let typed = serve_with(
        &[&line[..], &["--control-name=n"]].concat(),
        &[&POD_ENV[..], &[("FSM_PROXY_CONFIG", "e")]].concat(),
    );
    assert_eq!(control_source(typed).name, "n");
}

#[test]
fn fsm_control_needs_roots_a_token_and_a_pod() {
    let full = ["fsm-proxy", "--control=https://c:1", "--control-ca=a", "--control-token=t"];
    let refused = |line: &[&str], env: &[(&str, &str)]| parse_with(line, env).unwrap_err().to_string();
    for (line, env, said) in [
        (&full[..2], &POD_ENV[..], "name the PEM file with its root: --control-ca FILE"),
        (&full[..3], &POD_ENV[..], "service-account token: --control-token FILE"),
        (&full[..], &POD_ENV[1..], "set the variables POD_NAMESPACE and POD_NAME"),
        (&full[..], &POD_ENV[..1], "set the variables POD_NAMESPACE and POD_NAME"),
        (
            &["fsm-proxy", "--control=http://c:1"],
            &POD_ENV[..],
            "--control http://c:1: fsm-control is spoken to over TLS only",
        ),
        (&["fsm-proxy", "--control=https://c:1/x"], &POD_ENV[..], "only host and port have a meaning"),
        (&["fsm-proxy", "--control=https://c:1", "--config=f"], &POD_ENV[..], "leave one of them out"),
        (&["fsm-proxy", "--control", "https://c:1", REPO], &POD_ENV[..], "leave one of them out"),
    ] {
        let text = refused(line, env);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn source_may_come_from_the_environment() {
    let repo = Source::Repo(REPO.parse().unwrap());
    assert_eq!(serve_with(&["fsm-proxy"], &[("FSM_PROXY_REPO", REPO)]).source, repo);
    let both = [("FSM_PROXY_REPO", REPO), ("FSM_PROXY_CONFIG", "e.json")];
    assert_eq!(serve_with(&["fsm-proxy", "--config=f.json"], &both).source, Source::File("f.json".into()));
    assert_eq!(serve_with(&["fsm-proxy", REPO], &[("FSM_PROXY_CONFIG", "e.json")]).source, repo);
    let empty = [("FSM_PROXY_REPO", REPO), ("FSM_PROXY_CONFIG", ""), ("FSM_PROXY_WORKERS", "")];
    assert_eq!(serve_with(&["fsm-proxy"], &empty).source, repo, "an empty variable counts as unset");
    let text = parse_with(&["fsm-proxy"], &both).unwrap_err().to_string();
    assert!(text.contains("FSM_PROXY_REPO") && text.contains("FSM_PROXY_CONFIG=e.json"), "{text}");
}

#[test]
fn sources_that_cannot_be_used() {
    let cases: [(&[&str], &str); 9] = [
        (&["fsm-proxy"], "give a document with --config FILE"),
        (&["pipy"], "give a document with --config FILE"),
        (&["fsm-proxy", "--config", "c.json", REPO], "leave one of them out"),
        (&["pipy", "main.js"], "does not run Pipy scripts"),
        (&["pipy", "https://controller/repo/a/"], "`https` URLs are not supported yet"),
        (&["pipy", "http://"], "this is not a URL"),
        (&["pipy", "http://user:password@controller/repo/a/"], "a user name, a password or a query"),
        (&["pipy", "http://controller/repo/a/?x=1"], "a user name, a password or a query"),
        (&["pipy", "http://controller:port/repo/a/"], "this is not a URL"),
    ];
    for (line, expected) in cases {
        let text = refusal(line);
        assert!(text.contains(expected), "{line:?}: {text}");
    }
}

#[test]
fn values_that_cannot_be_used_are_named_with_reason_and_remedy() {
    let cases = [
        ("--outbound-listen=everywhere", "give IP:PORT"),
        ("--inbound-listen=0.0.0.0", "give IP:PORT"),
        ("--inbound-listen=[::]:65536", "give IP:PORT"),
        ("--admin-listen=off,127.0.0.1:1", "give IP:PORT"),
        ("--prometheus-listen=", "give IP:PORT"),
        ("--probe-listen-address=127.0.0.1:15901", "give one as in"),
        ("--admin-port=0", "give a number from 1"),
        ("--admin-port=six", "give a number from 1"),
        ("--upstream-mark=0", "give a number from 1"),
        ("--upstream-mark=4294967296", "give a number from 1"),
        ("--upstream-mark=0xg", "give a number from 1"),
        ("--workers=0", "give 1 to 1024"),
        ("--workers=1025", "give 1 to 1024"),
        ("--workers=-1", "give 1 to 1024"),
        ("--runtime=fast", "give work-stealing or per-core"),
        ("--log-level=loud", "give trace, debug, info, warn, error or disabled"),
        ("--log-format=xml", "give text or json"),
        ("--drain-min=soon", "give seconds"),
        ("--drain-min=-1", "give seconds"),
        ("--drain-min=1h", "give seconds"),
        ("--drain-min=NaN", "give seconds"),
        ("--drain-max=inf", "give seconds"),
        ("--drain-max=1e9", "give seconds"),
        ("--drain-max=2", "a smaller --drain-min"),
    ];
    for (argument, remedy) in cases {
        let (flag, value) = argument.split_once('=').unwrap();
        let text = refusal(&["fsm-proxy", "--config=c.json", argument]);
        let value = value.split(',').next().unwrap();
        assert!(text.starts_with(flag) && text.contains(value) && text.contains(remedy), "{argument}: {text}");
    }
    let text = parse_with(&["fsm-proxy", "--config=c"], &[("FSM_PROXY_WORKERS", "none")]).unwrap_err();
    assert!(text.to_string().starts_with("environment variable FSM_PROXY_WORKERS=none: "), "{text}");
}

#[test]
fn text_that_is_not_utf8_is_refused_but_a_path_may_be_any() {
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let parse = |line: Vec<OsString>| Options::parse(line, |_| None);
    let Ok(Invocation::Serve(options)) = parse(vec!["fsm-proxy".into(), "--config".into(), odd.clone()]) else {
        panic!("a path is bytes");
    };
    assert_eq!(options.source, Source::File(odd.clone().into()));
    let line = vec!["fsm-proxy".into(), "--config=a".into(), "--runtime".into(), odd.clone()];
    assert!(parse(line).unwrap_err().to_string().contains("not UTF-8"));
    parse(vec!["pipy".into(), odd]).unwrap_err();
    parse(vec![]).unwrap_err();
}

#[test]
fn longer_minimum_lengthens_the_default_maximum() {
    let options = with(&["--drain-min=40"]);
    assert_eq!((options.drain_min, options.drain_max), (Duration::from_secs(40), Duration::from_secs(40)));
}

#[test]
fn remarkable_addresses_are_noted() {
    let notes = |line: &[&str]| serve(line).notes.join("\n");
    assert!(notes(&["fsm-proxy", "--config=c", "--admin-listen=0.0.0.0:15000"]).contains("not on a loopback address"));
    let options = serve(&["pipy", "--admin-port=0.0.0.0:6060", REPO]);
    assert_eq!(options.admin_port, Some(6060));
    assert!(options.notes.join("").contains("on loopback only"));
    assert_eq!(serve(&["pipy", "--admin-port=:6060", REPO]).notes, Vec::<String>::new());
    assert!(notes(&["pipy", REPO.trim_end_matches('/')]).contains("should end with a slash"));
}

#[test]
fn urls_of_the_repository() {
    let cases = [
        ("http://controller/repo/a/", "controller", 80, "/repo/a/"),
        ("HTTP://Controller:6060/repo/a", "Controller", 6060, "/repo/a/"),
        ("http://[fd00::1]:6060/", "fd00::1", 6060, "/"),
        ("http://10.0.0.1:6060", "10.0.0.1", 6060, "/"),
    ];
    for (text, host, port, path) in cases {
        let url = RepoUrl { host: host.into(), port, path: path.into() };
        assert_eq!(text.parse(), Ok(url.clone()), "{text}");
        assert_eq!(url.to_string().parse(), Ok(url), "what is shown can be read again");
    }
    assert_eq!("http://[fd00::1]:6060/a".parse::<RepoUrl>().unwrap().to_string(), "http://[fd00::1]:6060/a/");
    for text in
        ["", "/", "controller", "ftp://controller/", "http://:80/", "http://a:99999/", "http://a b/", "http://[::1"]
    {
        assert!(text.parse::<RepoUrl>().is_err(), "{text}");
    }
}

#[test]
fn hooks_by_name_and_by_word() {
    let wait = WaitOptions { admin: "127.0.0.1:15000".parse().unwrap(), timeout: Duration::from_secs(60) };
    for line in [&["/usr/local/bin/wait-pipy"][..], &["fsm-proxy", "wait"]] {
        assert!(matches!(parse_with(line, &[]), Ok(Invocation::WaitReady(options)) if options == wait), "{line:?}");
    }
    let drain = DrainOptions { admin: wait.admin, timeout: limits::DRAIN_MAX + Duration::from_secs(2) };
    for line in [&["gkill"][..], &["fsm-proxy", "drain"]] {
        assert!(matches!(parse_with(line, &[]), Ok(Invocation::Drain(options)) if options == drain), "{line:?}");
    }
}

#[test]
fn hooks_take_address_and_timeout() {
    let admin: SocketAddr = "[::1]:7".parse().unwrap();
    let timeout = Duration::from_secs(3);
    let line = ["fsm-proxy", "wait", "--admin=[::1]:7", "--timeout=3s"];
    let expected = WaitOptions { admin, timeout };
    assert!(matches!(parse_with(&line, &[]), Ok(Invocation::WaitReady(options)) if options == expected));
    let env = [("FSM_PROXY_ADMIN", "[::1]:7"), ("FSM_PROXY_WAIT_TIMEOUT", "3"), ("FSM_PROXY_DRAIN_TIMEOUT", "3")];
    assert!(matches!(parse_with(&["wait-pipy"], &env), Ok(Invocation::WaitReady(options)) if options == expected));
    let expected = DrainOptions { admin, timeout };
    assert!(matches!(parse_with(&["gkill"], &env), Ok(Invocation::Drain(options)) if options == expected));
    assert!(refusal(&["wait-pipy", "--timeout=never"]).starts_with("--timeout never: "));
    assert!(refusal(&["gkill", "--admin=off"]).starts_with("--admin off: "));
    assert!(refusal(&["gkill", "now"]).contains("now"));
}

#[test]
fn help_and_version_are_printed() {
    for line in [&["fsm-proxy", "--help"][..], &["pipy", "--help"], &["wait-pipy", "--help"], &["gkill", "-h"]] {
        match parse_with(line, &[]) {
            Ok(Invocation::Print(text)) => assert!(text.contains("Usage: fsm-proxy"), "{text}"),
            other => panic!("{line:?} gives {other:?}"),
        }
    }
    let version = format!("fsm-proxy {}", env!("CARGO_PKG_VERSION"));
    for line in [&["fsm-proxy", "--version"][..], &["pipy", "-V"]] {
        assert!(matches!(parse_with(line, &[]), Ok(Invocation::Print(text)) if text == version), "{line:?}");
    }
}

#[test]
fn defaults_in_the_help_are_the_defaults() {
    let help = raw::ServeFlags::command().render_long_help().to_string();
    for (what, default) in [("drain_min", limits::DRAIN_MIN), ("drain_max", limits::DRAIN_MAX)] {
        assert!(help.contains(&format!("[default: {}s]", default.as_secs())), "{what}");
    }
}

#[test]
fn every_flag_and_variable_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    for argument in raw::ServeFlags::command().get_arguments() {
        let Some(flag) = argument.get_long() else {
            continue;
        };
        let variable = format!("FSM_PROXY_{}", flag.replace('-', "_").to_uppercase());
        assert!(page.contains(&format!("`--{flag}")), "--{flag} is missing in docs/configuration.md");
        assert!(page.contains(&format!("`{variable}`")), "{variable} is missing in docs/configuration.md");
    }
    for variable in ["FSM_PROXY_REPO", "FSM_PROXY_ADMIN", "FSM_PROXY_WAIT_TIMEOUT", "FSM_PROXY_DRAIN_TIMEOUT"] {
        assert!(page.contains(&format!("`{variable}`")), "{variable} is missing in docs/configuration.md");
    }
}

#[test]
fn a_gateway_has_an_address_and_says_who_may_go_where() {
    let options = |arguments: &[&str]| {
        let argv = ["fsm-proxy", "--config", "x"].iter().chain(arguments).map(OsString::from);
        match Options::parse(argv, |_| None) {
            Ok(Invocation::Serve(options)) => Ok(options.gateway),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    assert_eq!(options(&[]), Ok(None));
    assert_eq!(options(&["--gateway-listen", "off"]), Ok(None));
    let gateway = options(&["--gateway-listen", "1080"]).unwrap().unwrap();
    assert_eq!(gateway.listen, ["0.0.0.0:1080".parse().unwrap(), "[::]:1080".parse().unwrap()]);
    assert_eq!((gateway.mode, gateway.plaintext, gateway.permits.len()), (Mode::Http2Tunnel, false, 0));
    let all = ["--gateway-listen", "127.0.0.1:9", "--gateway-mode", "sock5", "--gateway-plaintext", "--gateway-allow"];
    let gateway = options(&[&all[..], &["*.example.org:443,10.0.0.0/8:*"]].concat()).unwrap().unwrap();
    assert_eq!((gateway.mode, gateway.plaintext, gateway.permits.len()), (Mode::Socks5, true, 2));
    for (arguments, said) in [
        (&["--gateway-plaintext"][..], "--gateway-plaintext yes: this process is no egress gateway"),
        (&["--gateway-listen", "1080", "--gateway-mode", "x"], "--gateway-mode x: this word is not known"),
        (&["--gateway-listen", "1080", "--gateway-allow", "example.org"], "`example.org` has no port"),
    ] {
        let error = options(arguments).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn names_are_answered_on_loopback_only() {
    let listen = |value: &str| {
        let flags = ["fsm-proxy", "--config", "/c.json", "--dns-listen", value].map(OsString::from);
        match Options::parse(flags, |_| None) {
            Ok(Invocation::Serve(options)) => Ok(options.dns_listen),
            Ok(_) => panic!("it serves"),
            Err(error) => Err(error.to_string()),
        }
    };
    let both = ["127.0.0.1:5300", "[::1]:5300"].map(|address| address.parse::<SocketAddr>().unwrap());
    assert_eq!(listen("5300").unwrap(), both);
    let refused = listen("0.0.0.0:53").unwrap_err();
    assert!(refused.contains("--dns-listen") && refused.contains("not on loopback"), "{refused}");
}
