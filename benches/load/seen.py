#!/usr/bin/env python3
"""What being seen costs: the same pair of sidecars with what operators have on, and without it, in turn.

Metrics are counted in both. `fsm-observed` has an access log of errors, 1 % of the requests traced, and a scraper besides
(`documents.observability`). `fsm-before` is the pair without them once more, from FSM_PROXY_BEFORE_BIN (the same program, if it
is not set): its ratio should be 1 and says how far the others can be trusted.

Rounds of two seconds (`bench.py`) differ by more than what is sought. So each pair gets slices of a third of a second, in random
order, and the processor time comes from the scheduler, in nanoseconds. Pairs are started afresh now and then, because where a
program lies in memory makes a difference of its own. Needs root, nginx, iperf3 and h2load, and a quiet machine.

    seen.py            all cases, about ten minutes
    seen.py h2 --slices 50
"""
import argparse
import math
import os
import random
import statistics
import subprocess
import sys

import generators
import pods
from bench import ROOT, Bench, check_machine
from peers import Peer, PeerError

PAIRS = ("fsm-mtls", "fsm-before", "fsm-observed")


def closed_loop(kind, *arguments):
    def run(peer, requests):
        command = ["h2load", "-t1", f"-n{requests}", *arguments, peer.url(kind, "/s")]
        done = subprocess.run(peer.in_client_pod(command), capture_output=True, text=True, timeout=60)
        return requests if f" {requests} succeeded" in done.stdout else 0, done.stdout + done.stderr
    return run


def open_loop(peer, requests):
    result = generators.open_loop(peer, "h1", "/s", 32, requests, 1)
    return 0 if result["failed"] else result["n"], str(result)


# name -> (what, requests in a slice, how they are made: how many were, none if one of them failed)
CASES = {
    "c1": ("HTTP/1.1, one connection", 3_000, closed_loop("h1", "--h1", "-c1")),
    "c32": ("HTTP/1.1, 32 connections", 10_000, closed_loop("h1", "--h1", "-c32")),
    "h2": ("HTTP/2, 32 connections with 8 streams each", 16_000, closed_loop("h2", "-c32", "-m8")),
    "1k": ("HTTP/1.1, 32 connections, 1,000 requests/s (slices of a second)", 1_000, open_loop),
}


def processor_time(peer):
    """Nanoseconds that both sidecars have run so far, all threads."""
    total = 0
    for process in peer.sidecars.values():
        tasks = f"/proc/{process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def slice_of(peer, case):
    """Microseconds of processor time for a request."""
    _, requests, run = CASES[case]
    before = processor_time(peer)
    done, output = run(peer, requests)
    if not done:
        sys.exit(f"{case} {peer.name}: a request of {requests} failed: {output[-500:]}")
    return (processor_time(peer) - before) / done / 1_000


def measure(bench, case, arguments):
    times = {name: [] for name in PAIRS}
    for _ in range(arguments.starts):
        peers = []
        try:
            for number, name in enumerate(random.sample(PAIRS, len(PAIRS))):
                peers.append(Peer(bench, name, number))
                peers[-1].start()
            for peer in peers:
                slice_of(peer, case)  # fills pools and caches
            for _ in range(arguments.slices):
                for peer in random.sample(peers, len(peers)):
                    times[peer.name].append(slice_of(peer, case))
        finally:
            for peer in peers:
                peer.stop()
    return times


def show(case, times):
    middle = statistics.median(times[PAIRS[0]])
    print(f"{case}: {CASES[case][0]}", flush=True)
    for name, values in times.items():
        error = statistics.pstdev(values) / math.sqrt(len(values)) / middle
        print(f"  {name:13} {statistics.median(values):7.2f} us a request, "
              f"{statistics.median(values) / middle - 1:+.1%} (standard error {error:.1%}, {len(values)} slices)", flush=True)


def main():
    parser = argparse.ArgumentParser(description="What metrics, logs of errors and 1 % of the traces cost (docs/benchmarks.md).")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}; none: all")
    parser.add_argument("--slices", type=int, default=30, help="of each pair, after each start")
    parser.add_argument("--starts", type=int, default=2, help="how often the pairs are started afresh")
    parser.add_argument("--work", default=os.path.join(ROOT, "target", "seen"))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(CASES)}")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    bench = Bench(arguments)
    check_machine(bench)
    bench.programs["fsm-before"] = bench.programs["fsm-before"] or bench.programs["fsm-proxy"]
    pods.remove_leftovers()
    bench.prepare("rsa")
    for case in arguments.cases or CASES:
        try:
            show(case, measure(bench, case, arguments))
        except PeerError as error:
            sys.exit(f"{case}: {error}")


if __name__ == "__main__":
    main()
