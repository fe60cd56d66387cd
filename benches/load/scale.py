#!/usr/bin/env python3
"""How fsm-proxy fares as a mesh grows: what a client's sidecar holds and does beside 10, 1,000 and 10,000 other services.

For each size: memory when idle and after load, CPU for a request, how long a request waits while a new configuration comes
in; memory with 1,000 and 10,000 idle connections; and how long its metrics page takes with 500 clusters, and what its scrapes
do to requests. Same pods, application and pinning as the load comparison (`bench.py`);
CPU and waiting need a quiet machine, memory does not. Needs root.
"""
import argparse
import json
import os
import resource
import subprocess
import threading
import time

import documents
import generators
import pods
import readings
from bench import CASES, ROOT, Bench, check_machine, wait_for_quiet
from peers import Peer, measure

SIZES = (10, 1000, 10000)
CONNECTIONS = (1000, 10000)
RATE = 1000
PUSH_SECONDS = 2
SETTLE_SECONDS = 20
SCRAPED = 500
SCRAPES_A_SECOND = 2


def memory(peer):
    return {side: readings.resident(pids) for side, pids in peer.sidecar_pids().items()}


def push(peer, certificates, stop, pushed):
    """Writes the outbound document anew, one endpoint changed each time, as a rename: what a control plane's change is."""
    path = os.path.join(peer.directory, "out", "config.json")
    document = json.loads(documents.fsm("out", certificates, {}, peer.services))
    number = 0
    while not stop.wait(PUSH_SECONDS / 2):
        number += 1
        document["Version"] = str(number + 1)
        document["Outbound"]["ClustersConfigs"]["bench/other-0|8080"] = {"Endpoints": {f"10.245.0.{number}:8080": {"Weight": 100}}}
        with open(path + ".new", "w") as file:
            json.dump(document, file)
        os.rename(path + ".new", path)
        pushed.append(time.monotonic())


def waits(bench, peer, seconds, with_pushes):
    stop, pushed = threading.Event(), []
    writer = threading.Thread(target=push, args=(peer, bench.certificates, stop, pushed))
    # Whoever writes the documents runs where the load does.
    os.sched_setaffinity(0, {int(bench.load_core)})
    if with_pushes:
        writer.start()
    seen = generators.open_loop(peer, "h1", "/s", 8, RATE, seconds)
    stop.set()
    if with_pushes:
        writer.join()
    return seen | {"pushes": len(pushed)}


def size(bench, services, number, seconds):
    peer = Peer(bench, "fsm-mtls", number, services)
    try:
        peer.start()
        idle = memory(peer)["out"]
        generators.wrk(peer, "h1", "/s", 32, 1)
        wait_for_quiet(20)
        run = measure(peer, CASES["h1-100B-c32"], seconds)
        calm = waits(bench, peer, seconds, False)
        pushed = waits(bench, peer, seconds, True)
        time.sleep(SETTLE_SECONDS)
        after = memory(peer)["out"]
    finally:
        peer.stop()
    print(f"| {services:,} | {idle / 1024:.1f} | {after / 1024:.1f} | {run['cpu_out']:.2f} | {run['cpu_total']:.2f} "
          f"| {calm['p50'] * 1e6:.0f} / {calm['p99'] * 1e6:.0f} / {calm['max'] * 1e6:.0f} "
          f"| {pushed['p50'] * 1e6:.0f} / {pushed['p99'] * 1e6:.0f} / {pushed['max'] * 1e6:.0f} | {pushed['pushes']} "
          f"| {run['failed'] + calm['failed'] + pushed['failed']} | {run['foreign']:.2f} |", flush=True)


def connections(bench, count, number):
    peer = Peer(bench, "fsm-mtls", number)
    try:
        peer.start()
        idle = memory(peer)
        holder = generators.hold_connections(peer, "h1", count)
        if holder is None:
            return
        time.sleep(1)
        held = memory(peer)
        holder.communicate("\n", timeout=30)
        time.sleep(SETTLE_SECONDS)
        after = memory(peer)
        between = peer.connections_between_sidecars()
    finally:
        peer.stop()
    for side in ("out", "in"):
        each = (held[side] - idle[side]) / count
        print(f"| {count:,} | {side} | {idle[side] / 1024:.1f} | {held[side] / 1024:.1f} | {each:.1f} "
              f"| {after[side] / 1024:.1f} | {between} |", flush=True)


def scrape(peer, stop, seconds, sizes):
    """Fetches the metrics page again and again, as Prometheus does but more often."""
    shown = ["curl", "-s", "-o", "/dev/null", "-w", "%{time_starttransfer} %{time_total} %{size_download}", "http://127.0.0.1:15010/metrics"]
    while not stop.wait(1 / SCRAPES_A_SECOND):
        said = subprocess.run(peer.in_client_pod(shown), capture_output=True, text=True, timeout=30).stdout.split()
        seconds.append(float(said[1]))
        sizes.append(int(said[2]))


def scrapes(bench, services, number, seconds):
    peer = Peer(bench, "fsm-observed", number, services)
    taken, sizes = [], []
    try:
        peer.start()
        generators.wrk(peer, "h1", "/s", 32, 1)
        os.sched_setaffinity(0, {int(bench.load_core)})
        calm = generators.open_loop(peer, "h1", "/s", 8, RATE, seconds)
        stop = threading.Event()
        scraper = threading.Thread(target=scrape, args=(peer, stop, taken, sizes))
        scraper.start()
        scraped = generators.open_loop(peer, "h1", "/s", 8, RATE, seconds)
        stop.set()
        scraper.join()
    finally:
        peer.stop()
    taken.sort()
    middle = taken[len(taken) // 2]
    print(f"| {services:,} | {max(sizes) / 1024:.0f} | {len(taken)} | {middle * 1e3:.1f} | {taken[-1] * 1e3:.1f} "
          f"| {calm['p50'] * 1e6:.0f} / {calm['p99'] * 1e6:.0f} / {calm['max'] * 1e6:.0f} "
          f"| {scraped['p50'] * 1e6:.0f} / {scraped['p99'] * 1e6:.0f} / {scraped['max'] * 1e6:.0f} "
          f"| {calm['failed'] + scraped['failed']} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Cost and memory of fsm-proxy as a mesh grows (docs/performance.md).")
    parser.add_argument("--seconds", type=int, default=5, help="length of one run")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of other services")
    parser.add_argument("--parts", default="sizes,connections,scrapes", help="what is measured")
    parser.add_argument("--work", default=os.path.join(ROOT, "target", "bench"))
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    bench = Bench(arguments)
    check_machine(bench)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pods.remove_leftovers()
    bench.prepare("rsa")
    parts = arguments.parts.split(",")
    if "sizes" in parts:
        print("| other services | idle MB | after load MB | CPU s per 100k, out | both | waiting us p50 / p99 / max | the same with a change each second | changes | failed | foreign |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for number, services in enumerate(map(int, arguments.sizes.split(","))):
            size(bench, services, number, arguments.seconds)
    if "connections" in parts:
        print("\n| idle connections | side | idle MB | with them MB | KB each | after they have gone MB | between the sidecars |")
        print("|---|---|---|---|---|---|---|")
        for number, count in enumerate(CONNECTIONS):
            connections(bench, count, 10 + number)
    if "scrapes" in parts:
        print("\n| clusters besides | page KB | scrapes | ms, median | longest | waiting us p50 / p99 / max | the same with scrapes | failed |")
        print("|---|---|---|---|---|---|---|---|")
        scrapes(bench, SCRAPED, 20, arguments.seconds)


if __name__ == "__main__":
    main()
