"""The load generators: each drives one peer for a number of seconds and returns what it saw.

Results hold `n` (requests, or bytes), `rps` or `gbps`, latencies in seconds where the generator measures them, and
`failed`: answers that were none, or not 200. Generators run in the client pod and end by themselves; one that does not
is killed after its time and ten seconds.
"""
import json
import re
import subprocess

GRACE = 10


def _run(peer, command, seconds):
    try:
        done = subprocess.run(peer.in_client_pod(command), capture_output=True, text=True, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} did not end"
    return done.stdout, done.stderr


def _seconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def _number(pattern, text, default=0.0):
    match = re.search(pattern, text, re.M)
    return float(match[1]) if match else default


def wrk(peer, kind, path, connections, seconds, headers=()):
    """Closed loop over HTTP/1.1: every connection asks again as soon as it is answered."""
    fields = [argument for header in headers for argument in ("-H", header)]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *fields, peer.url(kind, path)]
    output, errors = _run(peer, command, seconds)
    result = {"n": int(_number(r"(\d+) requests in", output)), "rps": _number(r"Requests/sec:\s*([\d.]+)", output)}
    for percentile in (50, 99):
        match = re.search(rf"^\s+{percentile}%\s+(\S+)", output, re.M)
        if match:
            result[f"p{percentile}"] = _seconds(match[1])
    sockets = re.search(r"Socket errors: (.*)", output)
    result["failed"] = int(_number(r"Non-2xx or 3xx responses: (\d+)", output))
    if sockets:
        # With a connection for each request, wrk counts the server's regular end of it as a read error.
        counts = [int(count) for count in re.findall(r"(?:connect|write|timeout) (\d+)", sockets[1])]
        reads = int(_number(r"read (\d+)", sockets[1]))
        result["failed"] += sum(counts) + (0 if headers else reads)
        result["socket_errors"] = sockets[1]
    if not result["n"]:
        result["error"] = errors[-200:] or output[-200:]
    return result


def h2load(peer, kind, path, connections, streams, seconds):
    """Closed loop over HTTP/2: every connection keeps this many requests under way."""
    command = ["h2load", f"-c{connections}", f"-m{streams}", f"-D{seconds}", peer.url(kind, path)]
    output, errors = _run(peer, command, seconds)
    result = {"n": int(_number(r"(\d+) succeeded", output)), "rps": _number(r"finished in [\d.]+\w+, ([\d.]+) req/s", output)}
    others = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    result["failed"] = int(_number(r"(\d+) failed", output)) + (sum(map(int, others.groups())) if others else 0)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", output)
    if mean:
        result["mean"] = _seconds(mean[1])
    if not result["n"]:
        result["error"] = errors[-200:] or output[-200:]
    return result


def open_loop(peer, kind, path, connections, rate, seconds):
    """A fixed rate, whatever the answers: latency counts from the moment a request was due."""
    host, port = peer.target(kind)
    command = [peer.bench.latency_probe, host, str(port), path, str(connections), str(rate), str(seconds)]
    output, errors = _run(peer, command, seconds)
    try:
        seen = json.loads(output)
    except ValueError:
        return {"n": 0, "rps": 0.0, "failed": 0, "error": errors[-200:]}
    result = {"n": seen["n"], "rps": seen["n"] / seconds, "failed": seen["bad"] + seen["unanswered"]}
    return result | {name: seen[name] / 1e6 for name in ("p50", "p90", "p99", "max")}


def iperf(peer, kind, seconds):
    """One TCP stream from the client to the server, as fast as it goes."""
    host, port = peer.target(kind)
    command = ["iperf3", "-c", host, "-p", str(port), "-t", str(seconds), "-J", "-Z", "-l", "128K"]
    output, errors = _run(peer, command, seconds)
    try:
        received = json.loads(output)["end"]["sum_received"]
    except (ValueError, KeyError):
        return {"n": 0, "gbps": 0.0, "failed": 1, "error": (errors or output)[-300:]}
    return {"n": received["bytes"], "gbps": received["bytes"] / received["seconds"] / 1e9, "failed": 0}


# Opens connections one after the other, one request on each, and holds them until it is told to end.
HOLD = """
import resource, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
host, port, held = sys.argv[1], int(sys.argv[2]), []
for _ in range(int(sys.argv[3])):
    s = socket.create_connection((host, port), 10)
    s.settimeout(10)
    s.sendall(f"GET /s HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n".encode())
    answer = b""
    while b"x" * 100 not in answer:
        more = s.recv(4096)
        if not more:
            sys.exit("closed after: " + answer[:200].decode(errors="replace"))
        answer += more
    held.append(s)
print("held", flush=True)
sys.stdin.readline()
"""


def hold_connections(peer, kind, count=1000):
    """Starts a process that holds so many idle connections until a line is written to it; None when it cannot."""
    host, port = peer.target(kind)
    holder = subprocess.Popen(
        peer.in_client_pod(["python3", "-c", HOLD, host, str(port), str(count)]),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    if holder.stdout.readline().strip() == "held":
        return holder
    holder.kill()
    print(f"{peer.name}: cannot hold {count:,} connections: {holder.communicate()[1].strip()[-200:]}", flush=True)
    return None
