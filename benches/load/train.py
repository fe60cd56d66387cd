#!/usr/bin/env python3
"""Runs an instrumented fsm-proxy through what sidecars spend their time on; `make pgo` builds the program anew from what it saw.

Both sidecars of a pair with mTLS, plain and observed: HTTP/1.1 and HTTP/2, small and large answers, new connections, one TCP
stream, a scraper, and configuration changes. What the load is compared by is not what this measures: an instrumented program is
slow. Needs root, for network namespaces.

    train.py PROGRAM DIRECTORY    the raw profiles go to the directory
"""
import argparse
import os
import shutil
import signal
import sys
import threading

import pods
import scale
from bench import CASES, ROOT, Bench
from peers import Peer

# Peer -> what it goes through. Each case runs for a second or two: counts matter only beside each other.
COURSE = {
    "fsm-mtls": ("h1-100B-c1", "h1-100B-c32", "h1-64K-c32", "h2-100B-c32m8", "h1-close-c32", "tcp-close-c32", "tcp-1"),
    "fsm-observed": ("h1-100B-c32", "h2-100B-c32m8"),
}
SECONDS = 2
SERVICES = 200


def run(bench, name, number):
    peer = Peer(bench, name, number, SERVICES)
    try:
        peer.start()
        stop, pushed = threading.Event(), []
        writer = threading.Thread(target=scale.push, args=(peer, bench.certificates, stop, pushed))
        writer.start()
        try:
            for case in COURSE[name]:
                result = CASES[case].run(peer, SECONDS)
                print(f"{name} {case}: {result['n']} done, {result['failed']} failed", flush=True)
                if not result["n"] or result["failed"]:
                    sys.exit(f"{name} {case}: a program that fails is not to be learnt from: {result}")
        finally:
            stop.set()
            writer.join()
        # The profile is written at an orderly end.
        for process in peer.sidecars.values():
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    finally:
        peer.stop()


def main():
    parser = argparse.ArgumentParser(description="Trains an instrumented fsm-proxy (docs/benchmarks.md).")
    parser.add_argument("program", help="fsm-proxy, built with -Cprofile-generate")
    parser.add_argument("directory", help="where the raw profiles go")
    parser.add_argument("--work", default=os.path.join(ROOT, "target", "train"))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("train.py needs root: it makes network namespaces and redirects traffic inside them")
    directory = os.path.abspath(arguments.directory)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    os.chmod(directory, 0o777)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["LLVM_PROFILE_FILE"] = os.path.join(directory, "%p.profraw")
    os.environ["FSM_PROXY_BIN"] = os.path.abspath(arguments.program)
    os.environ["FSM_PROXY_DRAIN_MIN"] = "0s"
    bench = Bench(arguments)
    pods.remove_leftovers()
    bench.prepare("rsa")
    for number, name in enumerate(COURSE):
        run(bench, name, number)
    profiles = [name for name in os.listdir(directory) if os.path.getsize(os.path.join(directory, name))]
    if len(profiles) < 2 * len(COURSE):
        sys.exit(f"{len(profiles)} profiles instead of {2 * len(COURSE)}: is {arguments.program} built with -Cprofile-generate?")


if __name__ == "__main__":
    main()
