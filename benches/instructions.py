#!/usr/bin/env python3
"""instructions.py [NAME…]: instructions of one call of every micro bench whose name contains a NAME, under callgrind.

Each bench runs twice, with different numbers of calls: the difference leaves only the calls, without set-up. Figures
repeat to within a fraction of a percent, however busy the machine is. Needs valgrind.
"""
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CALLS = 100


def binaries():
    command = ["cargo", "bench", "--quiet", "-p", "fsm-benches", "--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return [m["executable"] for m in messages if m.get("executable") and m["target"]["kind"] == ["bench"]]


def benches(binary):
    # Divan lists one name a line only to the test runner that sets this variable.
    command, environment = [binary, "--list", "--format", "terse"], os.environ | {"NEXTEST": "1"}
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [line.removesuffix(": benchmark") for line in listed.stdout.splitlines() if line.endswith(": benchmark")]


def total(binary, bench, calls):
    """Instructions of the whole process; None when the bench did not run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, "--bench", "--exact", bench,
               "--sample-count", "1", "--sample-size", str(calls), "--threads", "1"]
    errors = subprocess.run(command, capture_output=True, text=True).stderr
    found = re.search(r"Collected : (\d+)", errors)
    return int(found[1]) if found else None


def main():
    if not shutil.which("valgrind"):
        sys.exit("instructions.py needs valgrind: apt-get install valgrind")
    wanted = sys.argv[1:]
    for binary in binaries():
        for bench in benches(binary):
            if wanted and not any(name in bench for name in wanted):
                continue
            few, many = (total(binary, bench, calls) for calls in (CALLS, 2 * CALLS))
            count = f"{(many - few) / CALLS:,.0f}" if few and many else "did not run"
            print(f"{bench:80} {count:>14}", flush=True)


if __name__ == "__main__":
    main()
