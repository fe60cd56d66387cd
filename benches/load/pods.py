"""Two pods as network namespaces, and the redirection that a sidecar needs in them.

A pair of namespaces is joined by a veth link and by nothing else: no address, route or rule of the machine changes, and
every pair can use the same addresses. Names carry the id of the process that made them, so runs do not collide and the
leftovers of a killed run can be told and removed.
"""
import os
import re
import subprocess

CLIENT = "10.77.0.1"
SERVER = "10.77.0.2"
PROXY_UID = 1500  # FSM's: traffic of this user is not redirected
OUTBOUND_PORT = 15001
INBOUND_PORT = 15003

# FSM's rules, as its init container writes them.
SIDECAR_RULES = f"""*nat
:FSM_PROXY_INBOUND - [0:0]
:FSM_PROXY_IN_REDIRECT - [0:0]
:FSM_PROXY_OUTBOUND - [0:0]
:FSM_PROXY_OUT_REDIRECT - [0:0]
-A FSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port {INBOUND_PORT}
-A PREROUTING -p tcp -j FSM_PROXY_INBOUND
-A FSM_PROXY_INBOUND -p tcp --dport 15010 -j RETURN
-A FSM_PROXY_INBOUND -p tcp --dport 15901 -j RETURN
-A FSM_PROXY_INBOUND -p tcp --dport 15902 -j RETURN
-A FSM_PROXY_INBOUND -p tcp --dport 15903 -j RETURN
-A FSM_PROXY_INBOUND -p tcp --dport 15904 -j RETURN
-A FSM_PROXY_INBOUND -p tcp -j FSM_PROXY_IN_REDIRECT
-A FSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-port {OUTBOUND_PORT}
-A FSM_PROXY_OUT_REDIRECT -p tcp --dport 15000 -j ACCEPT
-A OUTPUT -p tcp -j FSM_PROXY_OUTBOUND
-A FSM_PROXY_OUTBOUND -o lo ! -d 127.0.0.1/32 -m owner --uid-owner {PROXY_UID} -j FSM_PROXY_IN_REDIRECT
-A FSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner {PROXY_UID} -j RETURN
-A FSM_PROXY_OUTBOUND -m owner --uid-owner {PROXY_UID} -j RETURN
-A FSM_PROXY_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A FSM_PROXY_OUTBOUND -j FSM_PROXY_OUT_REDIRECT
COMMIT
"""


def port_rules(redirects):
    """For proxies that cannot learn the original destination: one redirection for each port, at the same cost."""
    lines = ["*nat"]
    for port, to in redirects.items():
        lines.append(
            f"-A OUTPUT -p tcp -d {SERVER} --dport {port} -m owner ! --uid-owner {PROXY_UID} -j REDIRECT --to-port {to}"
        )
    return "\n".join(lines + ["COMMIT", ""])


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


class Pods:
    """A client pod and a server pod."""

    def __init__(self, number):
        self.client = f"fsmbench-{os.getpid()}-{number}c"
        self.server = f"fsmbench-{os.getpid()}-{number}s"

    def create(self):
        for name in (self.client, self.server):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "pod0", "netns", self.client, "type", "veth", "peer", "name", "pod0", "netns", self.server)
        for name, address in ((self.client, CLIENT), (self.server, SERVER)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "pod0")
            for link in ("lo", "pod0"):
                run("ip", "-n", name, "link", "set", link, "up")
            # Runs with a new connection for each request would use up the default range.
            settings = ("net.ipv4.ip_local_port_range=16384 65000", "net.core.somaxconn=4096")
            run("ip", "netns", "exec", name, "sysctl", "-qw", *settings)

    def redirect(self, client_rules, server_rules):
        for name, rules in ((self.client, client_rules), (self.server, server_rules)):
            if rules:
                run("ip", "netns", "exec", name, "iptables-restore", "--noflush", input=rules)

    def remove(self):
        remove((self.client, self.server))


def remove(names):
    """Ends what runs in these namespaces and removes them; quiet about what is not there."""
    for name in names:
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), 9)
            except OSError:
                pass
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def remove_leftovers():
    """Removes the namespaces of runs whose process is gone."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        match = re.match(r"fsmbench-(\d+)-\d+[cs]\b", line)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            remove([match[0]])


def listening(namespace, port):
    """Whether something listens on the port. Asks the kernel, so that the proxy does not see a connection."""
    found = subprocess.run(
        ["ip", "netns", "exec", namespace, "ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True
    )
    return bool(found.stdout.strip())
