#!/usr/bin/env python3
"""Counts the instructions that fsm-proxy executes for a request, and fails when they have become many more.

Both sidecars of a pair run under callgrind, in two pods as for the load comparison (`bench.py`), with the same document. Each
case runs twice, with few and with many units of work: the difference leaves the work alone, without start and warm-up.
Unlike times, the figures repeat on a busy machine; the kernel's part is not in them. Needs root, valgrind, nginx and h2load.

What it costs to see is measured beside it: the same requests with what operators have on (`documents.observability`), as a
share of those without. Scrapes are left out of it: they come by the clock, which does not fit programs that are fifty times as
slow; `scale.py` measures them.

    gate.py            compare with benches/load/gate.json; exit code 1 when a figure is above its tolerance
    gate.py --update   measure and write that file
    gate.py --keep DIR profiles for callgrind_annotate
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys

from bench import ROOT, Bench
from peers import Peer
import pods

BASELINE = os.path.join(ROOT, "benches", "load", "gate.json")
# A compiler or a dependency moves figures by a percent or two; what a person adds to a hot path is seen above this.
TOLERANCE = 0.06
# What seeing may add to what a pair executes for a request, and where that is measured. The goal is 5 % of processor time, of
# which the kernel has the larger part; the allocator's housekeeping, which goes by the clock, makes this figure too high.
SEEING = 0.10
SEEN = ("http1", "http1-32", "http2")
WRAPPER = """#!/bin/sh
exec valgrind --quiet --tool=callgrind --callgrind-out-file={directory}/%p {program} "$@"
"""

# name -> (what one unit is, few, many, command for so many units). All of it over one connection, except the last case.
CASES = {
    "http1": ("request over HTTP/1.1, 100 bytes back", 200, 3200,
              lambda peer, n: ["h2load", "--h1", f"-n{n}", "-c1", peer.url("h1", "/s")]),
    "http1-32": ("the same over 32 connections", 320, 3520,
                 lambda peer, n: ["h2load", "--h1", f"-n{n}", "-c32", peer.url("h1", "/s")]),
    "http2": ("request over HTTP/2 on a gRPC port", 200, 3200,
              lambda peer, n: ["h2load", f"-n{n}", "-c1", "-m1", peer.url("h2", "/s")]),
    "tcp-64K": ("64 KiB over a TCP port", 20, 320,
                lambda peer, n: ["h2load", "--h1", f"-n{n}", "-c1", peer.url("tls", "/l")]),
    "connection": ("TCP connection with its mTLS handshake", 10, 60,
                   lambda peer, n: ["h2load", "--h1", f"-n{n}", f"-c{n}", peer.url("tls", "/s")]),
}


def total(path):
    with open(path) as file:
        return next(int(line.split()[1]) for line in file if line.startswith(("totals:", "summary:")))


def run(bench, name, case, units, number, keep):
    """Instructions of each side of this peer for so many units, start and end included."""
    directory = os.path.join(bench.work, "callgrind")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    os.chmod(directory, 0o777)
    peer = Peer(bench, name, number)
    try:
        peer.start()
        done = subprocess.run(peer.in_client_pod(CASES[case][3](peer, units)), capture_output=True, text=True, timeout=120)
        if f" {units} succeeded" not in done.stdout:
            sys.exit(f"{case}: not all of {units} succeeded: {(done.stdout + done.stderr)[-500:]}")
        sides = {}
        for side, process in peer.sidecars.items():
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            sides[side] = total(f"{directory}/{process.pid}")
            if keep:
                shutil.copy(f"{directory}/{process.pid}", os.path.join(keep, f"{name}-{case}-{side}-{units}"))
        return sides
    finally:
        peer.stop()


def measure(bench, name, cases, keep):
    figures = {}
    for number, case in enumerate(cases):
        _, few, many, _ = CASES[case]
        less, more = (run(bench, name, case, units, 2 * number + turn, keep) for turn, units in enumerate((few, many)))
        figures[case] = {side: round((more[side] - less[side]) / (many - few)) for side in more}
        shown = " ".join(f"{side}={count:,}" for side, count in figures[case].items())
        print(f"{name:12} {case:11} {shown:32} {CASES[case][0]}", flush=True)
    return figures


def cost_of_seeing(figures, seen):
    """Prints what seeing adds in each case; sentences about what is too much."""
    much = []
    for case, sides in seen.items():
        each = {side: count / figures[case][side] - 1 for side, count in sides.items()}
        both = sum(sides.values()) / sum(figures[case].values()) - 1
        shown = ", ".join(f"{side} {share:+.1%}" for side, share in each.items())
        print(f"seeing costs {both:+.1%} of a pair's instructions: {case} ({shown})")
        if both > SEEING:
            much.append(f"{case}: metrics, logs of errors and 1 % of the traces cost {both:+.1%}; {SEEING:.0%} is the limit")
    return much


def compare(figures, baseline):
    """Sentences about what has become worse; prints what has become better."""
    worse = []
    for case, sides in figures.items():
        for side, count in sides.items():
            before = baseline.get(case, {}).get(side)
            if before is None:
                worse.append(f"{case} {side}: there is no baseline; `gate.py --update` makes one")
            elif count > before * (1 + TOLERANCE):
                worse.append(f"{case} {side}: {count:,} instructions, {count / before - 1:+.1%} of {before:,}")
            elif count < before * (1 - TOLERANCE):
                print(f"{case} {side}: {count / before - 1:+.1%}: better; keep it with `gate.py --update`")
    return worse


def main():
    parser = argparse.ArgumentParser(description="Instructions of a request, compared with a committed baseline (docs/benchmarks.md).")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}; none: all")
    parser.add_argument("--update", action="store_true", help="write the baseline")
    parser.add_argument("--keep", metavar="DIR", help="keep the profiles there")
    parser.add_argument("--work", default=os.path.join(ROOT, "target", "gate"))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(CASES)}")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in ("valgrind", "h2load", "nginx", "iperf3", "ip", "ss", "setpriv") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        sys.exit(f"gate.py needs root{''.join(f', {name}' for name in missing)}")
    if arguments.keep:
        os.makedirs(arguments.keep, exist_ok=True)
    pods.remove_leftovers()
    bench = Bench(arguments)
    program = bench.programs["fsm-proxy"] or sys.exit("no fsm-proxy: cargo build --release -p fsm-proxy, or set FSM_PROXY_BIN")
    bench.scrape_seconds = 3600
    bench.prepare("rsa")
    wrapper = os.path.join(bench.work, "fsm-proxy")
    with open(wrapper, "w") as file:
        file.write(WRAPPER.format(directory=os.path.join(bench.work, "callgrind"), program=program))
    os.chmod(wrapper, 0o755)
    bench.programs["fsm-proxy"] = wrapper
    os.environ["FSM_PROXY_DRAIN_MIN"] = "0s"
    cases = arguments.cases or list(CASES)
    figures = measure(bench, "fsm-mtls", cases, arguments.keep)
    seen = measure(bench, "fsm-observed", [case for case in SEEN if case in cases], arguments.keep)
    much = cost_of_seeing(figures, seen)
    if arguments.update:
        kept = {}
        if os.path.exists(BASELINE):
            with open(BASELINE) as file:
                kept = json.load(file)
        with open(BASELINE, "w") as file:
            file.write(json.dumps(kept | figures, indent=1) + "\n")
        return
    with open(BASELINE) as file:
        worse = compare(figures, json.load(file)) + much
    if worse:
        sys.exit("\n".join(["More instructions than the baseline allows:", *worse,
                            "Where they are: gate.py --keep DIR, callgrind_annotate DIR/FILE. If they are worth it: gate.py --update"]))
    print(f"within {TOLERANCE:.0%} of the baseline")


if __name__ == "__main__":
    main()
