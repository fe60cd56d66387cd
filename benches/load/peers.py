"""The peers: the same two pods with different proxies in them, or none.

A peer is a program and a topology:

* `direct`: no proxy; what client and server can do by themselves.
* `*-mtls` and `*-plain`: the sidecar pair. client -> outbound sidecar (15001) -> inbound sidecar (15003) -> server.
* `*-hop`: the single hop. client -> outbound sidecar -> server; no sidecar in the server pod. nginx and haproxy do not
  ask for the original destination: the client pod redirects each port to one of theirs, at the same cost.
"""
import os
import re
import resource
import shutil
import subprocess
import time

import documents
import generators
import pods
import readings

START_SECONDS = 15
# Two workers on both CPUs, which the load uses too.
RUNTIMES = {"stealing": "work-stealing", "percore": "per-core"}
SCRAPE_SECONDS = 3
HOP_PORTS = {"h1": 15101, "h2": 15102, "tcp": 15103}


# Takes spans and forgets them, and asks for the metrics again and again: one in the pod of each sidecar, so that no
# redirection is in the way.
COLLECTOR = f"""
import sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
def scrape():
    while True:
        time.sleep(float(sys.argv[1]))
        try:
            urllib.request.urlopen("http://127.0.0.1:15010/stats/prometheus", timeout=2).read()
        except OSError:
            pass
threading.Thread(target=scrape, daemon=True).start()
class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", {documents.COLLECTOR_PORT}), Collector).serve_forever()
"""


class PeerError(Exception):
    """A peer that cannot be started; the text says why."""


class Peer:
    """One peer with its pods and processes."""

    def __init__(self, bench, name, number, services=0):
        self.bench, self.name, self.services = bench, name, services
        self.program, _, self.topology = name.partition("-")
        self.pods = pods.Pods(number)
        self.directory = os.path.join(bench.work, name)
        self.sidecars = {}  # side -> process
        self.application = []
        self.kinds = list(documents.PORTS)

    def target(self, kind):
        return pods.SERVER, documents.PORTS[kind]

    def url(self, kind, path):
        host, port = self.target(kind)
        return f"http://{host}:{port}{path}"

    def in_client_pod(self, command):
        return ["ip", "netns", "exec", self.pods.client, "taskset", "-c", self.bench.load_core, *command]

    def sidecar_pids(self):
        return {side: [process.pid] for side, process in self.sidecars.items()}

    def application_pids(self):
        return [process.pid for process in self.application]

    # Start

    def start(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.pods.create()
        self._start_application()
        if self.topology in ("mtls", "plain", "observed", "before", *RUNTIMES):
            self._start_sidecar("out")
            self._start_sidecar("in")
            self.pods.redirect(pods.SIDECAR_RULES, pods.SIDECAR_RULES)
        elif self.program in ("nginx", "haproxy"):
            self._start_port_proxy()
            self.pods.redirect(pods.port_rules({documents.PORTS[k]: HOP_PORTS[k] for k in self.kinds}), None)
        elif self.topology == "hop":
            self._start_sidecar("out")
            self.pods.redirect(pods.SIDECAR_RULES, None)

    def _start_application(self):
        directory = self._make_directory("application")
        with open(f"{directory}/l.bin", "wb") as file:
            file.write(os.urandom(65536))
        config = self._render("backend.conf", f"{directory}/nginx.conf", dir=directory, small="x" * 100)
        namespace, core = self.pods.server, self.bench.load_core
        self.application = [
            self._spawn(["nginx", "-c", config], namespace, core, f"{directory}/log"),
            self._spawn(["iperf3", "-s", "-p", str(documents.PORTS["tcp"])], namespace, core, f"{directory}/iperf.log"),
        ]
        if self.topology == "observed":
            for pod in (self.pods.client, self.pods.server):
                self.application.append(self._spawn(["python3", "-c", COLLECTOR, str(self.bench.scrape_seconds)], pod, core, f"{directory}/spans.log"))
                self._wait(pod, documents.COLLECTOR_PORT, self.application[-1], f"{directory}/spans.log")
        for port in documents.PORTS.values():
            self._wait(namespace, port, self.application[0], f"{directory}/error.log")

    def _start_sidecar(self, side):
        namespace = self.pods.client if side == "out" else self.pods.server
        port = pods.OUTBOUND_PORT if side == "out" else pods.INBOUND_PORT
        observed = self.topology == "observed"
        certificates = None if self.topology in ("plain", "hop") else self.bench.certificates
        directory = self._make_directory(side)
        environment = {}
        if self.program == "envoy":
            config = self._write(f"{directory}/envoy.json", documents.envoy(side, port, certificates))
            command = [self.bench.programs["envoy"], "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        elif self.program == "fsm":
            observability = documents.observability(f"{directory}/access.log") if observed else {}
            config = self._write(f"{directory}/config.json", documents.fsm(side, certificates, observability, self.services))
            program = self.bench.programs["fsm-before" if self.topology == "before" else "fsm-proxy"]
            command = [program, "--config", config, "--log-level", "error"]
            if self.topology in RUNTIMES:
                command += ["--workers", "2", "--runtime", RUNTIMES[self.topology]]
            environment = self._pod_environment(side)
        elif self.program == "probe":
            command = [self.bench.programs["probe"], side, certificates or "-"]
        else:
            shutil.copytree(self.bench.programs["codebase"], directory, dirs_exist_ok=True)
            self._write(f"{directory}/config.json", documents.fsm(side, certificates))
            command = [self.bench.programs["pipy"], "--log-level=error", f"{directory}/main.js"]
            environment = self._pod_environment(side)
        subprocess.run(["chown", "-R", str(pods.PROXY_UID), directory], check=True)
        log = f"{self.directory}/{side}.log"
        core = f"{self.bench.proxy_core},{self.bench.load_core}" if self.topology in RUNTIMES else self.bench.proxy_core
        process = self._spawn(command, namespace, core, log, pods.PROXY_UID, environment, directory)
        self.sidecars[side] = process
        self._wait(namespace, port, process, log)

    def _pod_environment(self, side):
        return {
            "POD_NAMESPACE": "bench", "POD_CONTROLLER_KIND": "Deployment", "POD_NAME": f"{side}-0",
            "SERVICE_ACCOUNT": documents.IDENTITY[side].split(".")[0],
            "POD_IP": pods.CLIENT if side == "out" else pods.SERVER,
        }

    def _start_port_proxy(self):
        directory = self._make_directory("out")
        if self.program == "nginx":
            module = _nginx_stream_module()
            config = self._render("nginx.conf", f"{directory}/nginx.conf", dir=directory, stream_module=module or "")
            if module is None:
                self._drop_stream_block(config)
            command = ["nginx", "-c", config]
        else:
            command = ["haproxy", "-db", "-f", self._render("haproxy.cfg", f"{directory}/haproxy.cfg")]
        self.kinds = [kind for kind in self.kinds if kind in HOP_PORTS]
        subprocess.run(["chown", "-R", str(pods.PROXY_UID), directory], check=True)
        log = f"{self.directory}/out.log"
        process = self._spawn(command, self.pods.client, self.bench.proxy_core, log, pods.PROXY_UID)
        self.sidecars["out"] = process
        self._wait(self.pods.client, HOP_PORTS["h1"], process, log)

    def _drop_stream_block(self, config):
        with open(config) as file:
            text = file.read()
        self._write(config, text[:text.index("stream {")])
        self.kinds.remove("tcp")
        print("nginx: no stream module (libnginx-mod-stream), so it takes no part in the TCP cases", flush=True)

    # Parts

    def _make_directory(self, name):
        directory = os.path.join(self.directory, name)
        os.makedirs(directory)
        return directory

    def _write(self, path, text):
        with open(path, "w") as file:
            file.write(text)
        return path

    def _render(self, template, path, **values):
        with open(os.path.join(self.bench.here, "templates", template)) as file:
            text = file.read()
        listen = {f"l_{kind}": port for kind, port in HOP_PORTS.items()}
        return self._write(path, text.format(server=pods.SERVER, **documents.PORTS, **listen, **values))

    def _spawn(self, command, namespace, core, log, uid=None, environment=None, directory=None):
        user = []
        if uid:
            # The programs may lie below a directory that only root may enter.
            capability = "+dac_read_search"
            user = ["setpriv", f"--reuid={uid}", "--clear-groups", f"--inh-caps={capability}", f"--ambient-caps={capability}"]
        with open(log, "ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", namespace, "taskset", "-c", core, *user, *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory, start_new_session=True,
                env=os.environ | (environment or {}),
            )

    def _wait(self, namespace, port, process, log):
        end = time.monotonic() + START_SECONDS
        while not pods.listening(namespace, port):
            if process.poll() is not None or time.monotonic() > end:
                raise PeerError(f"does not listen on port {port}; its log ends: {_tail(log)}")
            time.sleep(0.05)

    def connections_between_sidecars(self):
        """Established connections that arrive in the server pod, as its kernel sees them."""
        ports = f"( sport = :{pods.INBOUND_PORT} or sport = :{documents.PORTS['h1']} )"
        command = ["ip", "netns", "exec", self.pods.server, "ss", "-Htn", "state", "established", ports]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return sum(pods.CLIENT in line for line in lines)

    def stop(self):
        processes = [*self.sidecars.values(), *self.application]
        self.pods.remove()
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _tail(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()[-300:].strip() or "(empty)"
    except OSError:
        return "(none)"


def _nginx_stream_module():
    """The line that loads nginx's TCP proxy; empty when it is built in, None when there is none."""
    built = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr
    if re.search(r"--with-stream(?!\S)", built):
        return ""
    path = re.search(r"--modules-path=(\S+)", built)
    module = f"{path[1] if path else '/usr/lib/nginx/modules'}/ngx_stream_module.so"
    return f"load_module {module};" if os.path.exists(module) else None


def measure(peer, case, seconds):
    """One run of one case; what was seen, what it cost and how much the machine was disturbed."""
    def used():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "sidecars": {side: readings.cpu(pids) for side, pids in peer.sidecar_pids().items()},
            "application": sum(readings.cpu(peer.application_pids())),
            "load": children.ru_utime + children.ru_stime,
            "machine": readings.machine(),
        }

    before, start = used(), time.monotonic()
    result = case.run(peer, seconds)
    wall, after = time.monotonic() - start, used()
    scale = case.unit / max(result["n"], 1)
    proxies = 0.0
    for side, (user, system) in after["sidecars"].items():
        user, system = user - before["sidecars"][side][0], system - before["sidecars"][side][1]
        proxies += user + system
        result |= {f"cpu_{side}": (user + system) * scale, f"user_{side}": user * scale, f"util_{side}": (user + system) / wall}
    application, load = (after[name] - before[name] for name in ("application", "load"))
    busy, stolen = (after["machine"][i] - before["machine"][i] for i in (0, 1))
    return result | {
        "peer": peer.name, "case": case.name, "wall": wall, "cpu_total": proxies * scale,
        "util_load": (load + application) / wall,
        "foreign": max(0.0, busy - stolen - proxies - load - application) / wall, "steal": stolen / wall,
    }


def measure_memory(peer):
    """Kilobytes when idle and with 1,000 idle client connections, one request each; None without proxies."""
    def read(name):
        pids = peer.sidecar_pids()
        return {f"{name}_rss": {side: readings.resident(of) for side, of in pids.items()},
                f"{name}_pss": {side: readings.proportional(of) for side, of in pids.items()}}

    if not peer.sidecars:
        return None
    result = {"memory": True, "peer": peer.name} | read("idle")
    holder = generators.hold_connections(peer, "h1")
    if holder is None:
        return result
    time.sleep(0.5)
    result |= read("held") | {"between_sidecars": peer.connections_between_sidecars()}
    holder.communicate("\n", timeout=10)
    return result
