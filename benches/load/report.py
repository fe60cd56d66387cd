#!/usr/bin/env python3
"""report.py FILE…: tables of the results, in Markdown. Median of the rounds, and the range for CPU time."""
import json
import sys
from statistics import median

TOPOLOGIES = {
    "mtls": "Sidecar pair with mTLS", "plain": "Sidecar pair without mTLS", "hop": "Single hop (outbound sidecar only)",
}
REFERENCE = "envoy"
# What fsm-proxy's pair is to cost of another's: (what, case, topology, {peer: at most}, field).
GOALS = (
    ("HTTP/1 100 B, 32 connections", "h1-100B-c32", "mtls", {"envoy": 0.55, "pipy": 0.50}, "cpu_total"),
    ("HTTP/1 100 B, 256 connections", "h1-100B-c256", "mtls", {"envoy": 0.55, "pipy": 0.50}, "cpu_total"),
    ("HTTP/1 100 B, 1 connection", "h1-100B-c1", "mtls", {"envoy": 0.42, "pipy": 0.65}, "cpu_total"),
    ("1,000 requests/s, open loop", "lat-1k", "mtls", {"envoy": 0.42, "pipy": 0.65}, "cpu_total"),
    ("HTTP/1 64 KiB", "h1-64K-c32", "mtls", {"envoy": 0.75, "pipy": 0.55}, "cpu_total"),
    ("gRPC/HTTP/2, 32 x 8", "h2-100B-c32m8", "mtls", {"envoy": 0.50, "pipy": 0.45}, "cpu_total"),
    ("TCP, one stream", "tcp-1", "mtls", {"envoy": 1.00, "pipy": 0.60}, "cpu_total"),
    ("single hop HTTP/1, no TLS", "h1-100B-c32", "hop", {"envoy": 0.60, "nginx": 1.35}, "cpu_total"),
    ("added p50 at 1,000 requests/s", "lat-1k", "mtls", {"envoy": 0.50, "pipy": 0.75}, "p50"),
    ("added p99 at 1,000 requests/s", "lat-1k", "mtls", {"envoy": 1.00, "pipy": 1.00}, "p99"),
)
MEMORY_GOALS = (("idle RSS, MB", "idle", {"out": 8.0, "in": 8.0}), ("KB for each idle client connection", "each", {"out": 16.0, "in": 1.5}))


def read(paths):
    lines = []
    for path in paths:
        with open(path) as file:
            lines += [json.loads(line) for line in file if line.strip()]
    return lines


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def middle(runs, field, scale=1.0, form="{:.0f}"):
    values = [run[field] * scale for run in runs if run.get(field) is not None]
    return form.format(median(values)) if values else "-"


def ratio(runs, reference):
    """Quotient of the CPU medians; the only figure to be compared between machines."""
    if not reference or not runs:
        return "-"
    below = median(run["cpu_total"] for run in reference)
    return f"{median(run['cpu_total'] for run in runs) / below:.2f}" if below else "-"


def case_rows(case, topology, runs):
    """One row for each peer of a topology that ran the case, and one for no proxy at all."""
    by_peer = {}
    for run in runs:
        if run["case"] == case and run["n"]:
            by_peer.setdefault(run["peer"], []).append(run)
    # With what operators have on, and an earlier build: the same pair.
    beside = ("fsm-observed", "fsm-before", "fsm-stealing", "fsm-percore") if topology == "mtls" else ()
    members = [peer for peer in by_peer if peer.endswith(f"-{topology}") or peer in beside]
    reference = by_peer.get(f"{REFERENCE}-{topology}")
    for peer in (["direct"] if "direct" in by_peer else []) + members:
        group = by_peer[peer]
        tcp = "gbps" in group[0]
        proxied = peer != "direct"
        sides = [side for side in ("out", "in") if f"cpu_{side}" in group[0]]
        cpu = [run["cpu_total"] for run in group]
        user = [sum(run[f"user_{side}"] for side in sides) / run["cpu_total"] for run in group if run["cpu_total"]]
        failed = sum(run["failed"] for run in group)
        yield [
            case, peer + (f" (**{failed} failed**)" if failed else ""),
            middle(group, "gbps", form="{:.2f} GB/s") if tcp else middle(group, "rps"),
            f"{median(cpu):.2f} [{min(cpu):.2f}-{max(cpu):.2f}]" if proxied else "-",
            ratio(group, reference) if proxied else "-",
            " + ".join(middle(group, f"cpu_{side}", form="{:.2f}") for side in sides) if len(sides) > 1 else "-",
            f"{median(user):.0%}" if user else "-",
            middle(group, "p50", 1e6), middle(group, "p99", 1e6),
            middle(group, "util_load", form="{:.2f}"), middle(group, "foreign", form="{:.2f}"),
        ]


HEAD = ["case", "peer", "req/s", "CPU s per 100k requests, or GB", f"/{REFERENCE}", "out + in", "user share", "p50 us",
        "p99 us", "load core", "foreign"]


def goal_rows(runs, memory):
    """Each goal with what was measured. Latency counts as what is added to that without proxies."""
    def middle_of(case, peer, field):
        values = [run[field] for run in runs if run["case"] == case and run["peer"] == peer and run.get(field) is not None]
        return median(values) if values else None

    def verdict(measured, at_most):
        return [f"{measured:.2f}", f"≤ {at_most:.2f}", "met" if round(measured, 2) <= at_most else "**not met**"]

    for what, case, topology, others, field in GOALS:
        ours, direct = middle_of(case, f"fsm-{topology}", field), middle_of(case, "direct", field)
        floor = (direct or 0) if field != "cpu_total" else 0
        for other, at_most in others.items():
            theirs = middle_of(case, f"{other}-{topology}", field)
            if ours is not None and theirs:
                yield [what, f"of {other}'s", *verdict((ours - floor) / (theirs - floor), at_most)]
    for case in dict.fromkeys(run["case"] for run in runs):
        ours, seen = middle_of(case, "fsm-mtls", "cpu_total"), middle_of(case, "fsm-observed", "cpu_total")
        if ours and seen:
            yield [f"with logs of errors and 1 % traced, {case}", "of fsm-mtls", *verdict(seen / ours, 1.05)]
    for line in memory:
        for what, kind, sides in MEMORY_GOALS if line["peer"] == "fsm-mtls" else ():
            for side, at_most in sides.items():
                idle, held = line["idle_rss"].get(side), line.get("held_rss", {}).get(side)
                if idle and held:
                    yield [what, side, *verdict(idle / 1024 if kind == "idle" else (held - idle) / 1000, at_most)]


def memory_rows(lines):
    for line in lines:
        for side, idle in line["idle_rss"].items():
            held = line.get("held_rss", {}).get(side)
            yield [
                line["peer"], side, f"{idle / 1024:.1f}", f"{line['idle_pss'][side] / 1024:.1f}",
                f"{held / 1024:.1f}" if held else "failed", f"{(held - idle) / 1000:.1f}" if held else "-",
                str(line.get("between_sidecars", "-")),
            ]


def render(paths):
    lines = read(paths)
    runs = [line for line in lines if "case" in line]
    memory = [line for line in lines if line.get("memory")]
    about = [line["about"] for line in lines if "about" in line]
    text = ["", "## Load comparison", ""]
    if about:
        text += [f"- {name}: {value}" for name, value in about[-1].items()] + [""]
    if runs:
        foreign = sorted(run["foreign"] for run in runs)
        text += [f"CPUs used by other processes during the runs: median {median(foreign):.2f}, most {foreign[-1]:.2f}; "
                 f"rounds: {max(run['round'] for run in runs) + 1}.", ""]
    cases = list(dict.fromkeys(run["case"] for run in runs))
    for topology, title in TOPOLOGIES.items():
        rows = [row for case in cases for row in case_rows(case, topology, runs)]
        with_proxies = {row[0] for row in rows if not row[1].startswith("direct")}
        rows = [row for row in rows if row[0] in with_proxies]
        if rows:
            text += [f"### {title}", "", *table(HEAD, rows), ""]
    if memory:
        head = ["peer", "side", "idle RSS MB", "idle PSS MB", "RSS with 1,000 connections", "KB per connection", "connections between the pods"]
        text += ["### Memory", "", *table(head, memory_rows(memory)), ""]
    goals = list(goal_rows(runs, memory))
    if goals:
        text += ["### Goals", "", *table(["what", "", "measured", "goal", ""], goals), ""]
    lost = [f"- {run['case']} {run['peer']}: {run.get('error') or 'no answer'}" for run in runs if not run["n"]]
    if lost:
        text += ["### Runs without a result", "", *lost, ""]
    return "\n".join(text)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: report.py FILE…")
    print(render(sys.argv[1:]))
