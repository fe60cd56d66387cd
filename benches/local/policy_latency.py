#!/usr/bin/env python3
"""policy_latency.py [--pods 50] [--changes 30]: how long after `fsm apply` traffic obeys, in a mesh on this machine.

One Deployment of httpbin fills the mesh, one pod is the client. The client asks again and again, each time on a new
connection, while a route group is changed so that the path asked for is allowed and forbidden in turn. Told of each
change: until the first answer by the new rule, and until the last by the old one (all pods obey). Times count from when
`fsm apply` returned; the start of the command is told as well. Needs `fsm`, `fsm-control` and `fsm-proxy` in
target/debug, or in the directory that FSM_BINARIES names.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARIES = os.environ.get("FSM_BINARIES", os.path.join(ROOT, "target", "debug"))

# Runs in the client's pod. A request: when it began, when it ended, what came. CLOCK_MONOTONIC is the whole machine's.
PROBE = """
import socket, sys, time
while True:
    began, status = time.monotonic(), 'none'
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as connection:
            connection.settimeout(2)
            connection.sendall(b'GET /get HTTP/1.1\\r\\nhost: httpbin.httpbin:14001\\r\\nconnection: close\\r\\n\\r\\n')
            line = connection.makefile('rb').readline()
            status = line.split()[1].decode() if line else 'reset'
    except OSError as why:
        status = type(why).__name__
    print(began, time.monotonic(), status, flush=True)
    time.sleep(0.002)
"""

MESH = """
apiVersion: v1
kind: Service
metadata: {{name: httpbin, namespace: httpbin}}
spec:
  selector: {{app: httpbin}}
  ports: [{{name: http, port: 14001}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: httpbin, namespace: httpbin}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: curl, namespace: curl}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: httpbin, namespace: httpbin}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: httpbin}}}}
  template:
    metadata: {{labels: {{app: httpbin}}}}
    spec:
      serviceAccountName: httpbin
      containers:
      - name: httpbin
        image: flomesh/httpbin:ken
        command: [gunicorn, -b, "0.0.0.0:14001", "httpbin:app"]
        ports: [{{containerPort: 14001}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: curl, namespace: curl}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: curl}}}}
  template:
    metadata: {{labels: {{app: curl}}}}
    spec:
      serviceAccountName: curl
      containers:
      - name: curl
        image: curlimages/curl
        command: [sleep, 365d]
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {{name: curl, namespace: httpbin}}
spec:
  destination: {{kind: ServiceAccount, name: httpbin, namespace: httpbin}}
  sources: [{{kind: ServiceAccount, name: curl, namespace: curl}}]
  rules: [{{kind: HTTPRouteGroup, name: routes}}]
"""

ROUTES = """
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {{name: routes, namespace: httpbin}}
spec:
  matches:
  - {{name: get, pathRegex: {path}, methods: [GET]}}
"""


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Mesh:
    def __init__(self, directory):
        self.environment = os.environ | {
            "FSM_STATE_DIR": os.path.join(directory, "state"),
            "PATH": BINARIES + ":" + os.environ["PATH"],
        }
        self.directory = directory

    def fsm(self, *arguments, text=None):
        command = [os.path.join(BINARIES, "fsm"), *arguments]
        done = subprocess.run(command, env=self.environment, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def probe(self, output):
        script = os.path.join(self.directory, "probe.py")
        with open(script, "w") as file:
            file.write(PROBE)
        command = [os.path.join(BINARIES, "fsm"), "exec", "deploy/curl", "-n", "curl", "--", sys.executable, script,
                   "httpbin.httpbin", "14001"]
        return subprocess.Popen(command, env=self.environment, stdout=output)


def answers(path):
    """All whole lines: (began, ended, status)."""
    with open(path) as file:
        lines = [line.split() for line in file.read().splitlines(keepends=True) if line.endswith("\n")]
    return [(float(began), float(ended), status) for began, ended, status in lines]


def until_settled(path, since, wanted, limit=10):
    """Waits until the last 200 answers are all as wanted."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        last = [one for one in answers(path) if one[0] > since][-200:]
        if len(last) == 200 and all((status == "200") == wanted for _, _, status in last):
            return True
        time.sleep(0.1)
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--changes", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        mesh = Mesh(directory)
        empty = os.path.join(directory, "manifests")
        os.mkdir(empty)
        mesh.fsm("up", empty, "--detach")
        try:
            measure(mesh, options, os.path.join(directory, "answers"))
        finally:
            mesh.fsm("down")


def measure(mesh, options, path):
    for namespace in ["httpbin", "curl"]:
        mesh.fsm("create", "namespace", namespace)
        mesh.fsm("namespace", "add", namespace)
    mesh.fsm("patch", "meshconfig", "fsm-mesh-config", "-n", "fsm-system", "--type=merge", "-p",
             '{"spec":{"traffic":{"enablePermissiveTrafficPolicyMode":false,"enableEgress":false}}}')
    mesh.fsm("apply", "-f", "-", text=ROUTES.format(path="/get"))
    began = time.monotonic()
    mesh.fsm("apply", "-f", "-", text=MESH.format(replicas=options.pods - 1))
    for workload, namespace in [("deploy/httpbin", "httpbin"), ("deploy/curl", "curl")]:
        mesh.fsm("rollout", "status", workload, "-n", namespace, "--timeout=300s")
    print(f"{options.pods} pods are ready after {time.monotonic() - began:.1f} s")
    print(f"load of the machine: {os.getloadavg()}, CPUs: {os.cpu_count()}")
    first, last, whole = [], [], []
    with open(path, "w") as output:
        probe = mesh.probe(output)
        try:
            if not until_settled(path, 0, True, 60):
                sys.exit(f"the client gets no answers: {answers(path)[-5:]}")
            for change in range(options.changes):
                allowed = change % 2 == 1
                before = time.monotonic()
                mesh.fsm("apply", "-f", "-", text=ROUTES.format(path="/get" if allowed else "/ip"))
                applied = time.monotonic()
                if not until_settled(path, applied, allowed):
                    sys.exit(f"change {change} is not obeyed")
                seen = [one for one in answers(path) if one[1] > before]
                new = [ended for _, ended, status in seen if (status == "200") == allowed]
                old = [ended for _, ended, status in seen if (status == "200") != allowed]
                first.append(max(0.0, min(new) - applied))
                last.append(max(0.0, max(old, default=applied) - applied))
                whole.append(max(max(old, default=before), min(new)) - before)
        finally:
            probe.terminate()
            probe.wait()
    everything = answers(path)
    statuses = {status: sum(1 for one in everything if one[2] == status) for status in {one[2] for one in everything}}
    took = statistics.median(ended - began for began, ended, _ in everything)
    print(f"{len(everything)} requests, {took * 1e3:.1f} ms each (median): {statuses}")
    rows = [("first answer by the new rule", first), ("last answer by the old rule", last),
            ("last one, from the start of fsm apply", whole)]
    for name, values in rows:
        print(f"{name}: p50 {percentile(values, 0.5) * 1e3:.0f} ms, p99 {percentile(values, 0.99) * 1e3:.0f} ms, "
              f"most {max(values) * 1e3:.0f} ms ({len(values)} changes)")
    print(f"load of the machine: {os.getloadavg()}")


if __name__ == "__main__":
    main()
