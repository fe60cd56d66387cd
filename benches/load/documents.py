"""Configurations of the peers: FSM's sidecar document, and Envoy's bootstrap that does the same.

Both sides of a pair know one HTTP service (8080), one gRPC service (8082) and one TCP service (5201), and a second TCP
service (8081) behind which the HTTP server answers, to count connections that cannot be pooled.
"""
import json

from pods import CLIENT, SERVER

PORTS = {"h1": 8080, "tls": 8081, "h2": 8082, "tcp": 5201}
# What the application of the server pod listens on: 8081 is the HTTP server as well.
PROTOCOL = {"h1": "http", "tls": "tcp", "h2": "grpc", "tcp": "tcp"}
SERVICE = {"h1": "echo", "tls": "raw", "h2": "grpc", "tcp": "stream"}
IDENTITY = {"out": "client.bench", "in": "server.bench"}
COLLECTOR_PORT = 9411
TRUST_DOMAIN = "cluster.local"

CHAINS = {
    "inbound-tcp": ["tls-termination", "tcp-routing", "tcp-load-balancing", "tcp-default"],
    "inbound-http": ["tls-termination", "http-routing", "metrics-http", "tracing-http", "logging-http",
                     "throttle-service", "throttle-route", "http-load-balancing", "http-default"],
    "outbound-tcp": ["tcp-routing", "tcp-load-balancing", "tcp-default"],
    "outbound-http": ["http-routing", "metrics-http", "tracing-http", "logging-http", "circuit-breaker",
                      "http-load-balancing", "http-default"],
}


def _read(directory, name):
    with open(f"{directory}/{name}") as file:
        return file.read()


def _hosts(service, port):
    names = [service + suffix for suffix in ("", ".bench", ".bench.svc", ".bench.svc.cluster", ".bench.svc.cluster.local")]
    return [host for name in names + [SERVER] for host in (name, f"{name}:{port}")]


def observability(access_log):
    """What operators have on: errors in an access log, one request in a hundred traced."""
    return {
        "accessLog": {"path": access_log, "errorsOnly": True},
        "tracing": {"address": f"127.0.0.1:{COLLECTOR_PORT}", "endpoint": "/api/v2/spans", "sampledFraction": "0.01"},
    }


def _add_services(entries, clusters, count, identity):
    """Other services of the mesh on the same port, before the one that is asked: each with its address, host, rule and pod."""
    for number in range(count):
        address = f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"
        name, cluster = f"other-{number}.bench.svc.cluster.local", f"bench/other-{number}|8080"
        hosts = {host: {"RuleName": name, "Service": name} for host in _hosts(f"other-{number}", 8080)}
        rules = {name: {"RouteRules": [{"Path": "/api/.*", "Type": "Regex", "TargetClusters": {cluster: 100}}]}}
        entries.insert(number, {"Port": 8080, "Protocol": "http", "HttpHostPort2Service": hosts, "HttpServiceRouteRules": rules,
                                "DestinationIPRanges": {f"{address}/32": None}})
        clusters[cluster] = {"Endpoints": {f"10.244.{number // 256 % 256}.{number % 256}:8080": {"Weight": 100}}}
        if identity:
            clusters[cluster]["ServiceIdentities"] = [identity]


def fsm(side, certificates, observability=None, services=0):
    """The document of one side; `certificates` is a directory, or None for a mesh without mTLS; `services` more are known to
    the client's side."""
    out = side == "out"
    document = {
        "Ts": "2024-01-01T00:00:00Z", "Version": "1", "Metrics": True,
        "Spec": {
            "ServiceIdentity": f"{IDENTITY[side]}.{TRUST_DOMAIN}", "SidecarLogLevel": "error", "SidecarTimeout": 60,
            "Traffic": {"EnableEgress": False, "HTTP1PerRequestLoadBalancing": False, "HTTP2PerRequestLoadBalancing": True},
            "FeatureFlags": {"EnableSidecarActiveHealthChecks": False, "EnableAutoDefaultRoute": False},
            "Probes": {}, "Observability": observability or {},
        },
        "Certificate": None, "Inbound": None, "Outbound": None,
        "AllowedEndpoints": {CLIENT: "", SERVER: ""},
        "Chains": {chain: [f"modules/{chain.split('-')[0]}-{module}.js" for module in modules]
                   for chain, modules in CHAINS.items()},
    }
    if certificates:
        document["Certificate"] = {
            "CommonName": f"{IDENTITY[side]}.{TRUST_DOMAIN}", "Expiration": "2099-01-01 00:00:00",
            "CertChain": _read(certificates, side + ".pem"), "PrivateKey": _read(certificates, side + ".key"),
            "IssuingCA": _read(certificates, "ca.pem"),
        }
    matches, clusters = {}, {}
    for kind, port in PORTS.items():
        cluster = f"bench/{SERVICE[kind]}|{port}" + ("" if out else "|local")
        match = {"Port": port, "Protocol": PROTOCOL[kind]}
        if PROTOCOL[kind] == "tcp":
            match["TcpServiceRouteRules"] = {"TargetClusters": {cluster: 100}}
            if out:
                match["TcpServiceRouteRules"]["AllowedEgressTraffic"] = False
        else:
            rule = f"{SERVICE[kind]}.bench.svc.cluster.local"
            match["HttpHostPort2Service"] = {host: {"RuleName": rule, "Service": rule} for host in _hosts(SERVICE[kind], port)}
            match["HttpServiceRouteRules"] = {
                rule: {"RouteRules": [{"Path": ".*", "Type": "Regex", "TargetClusters": {cluster: 100}}]}}
        if out:
            match["DestinationIPRanges"] = {f"{SERVER}/32": None}
            matches[str(port)] = [match]
            clusters[cluster] = {"Endpoints": {f"{SERVER}:{port}": {"Weight": 100}}}
            if certificates:
                clusters[cluster]["ServiceIdentities"] = [IDENTITY["in"]]
        else:
            matches[str(port)] = match
            clusters[cluster] = {f"127.0.0.1:{port}": 100}
    if out and services:
        _add_services(matches["8080"], clusters, services, IDENTITY["in"] if certificates else None)
    document["Outbound" if out else "Inbound"] = {"TrafficMatches": matches, "ClustersConfigs": clusters}
    return json.dumps(document)


def _address(address, port):
    return {"socket_address": {"address": address, "port_value": port}}


def _typed(name, proto, **fields):
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{proto}", **fields}}


def _envoy_tls(side, certificates):
    out = side == "out"
    validation = {"trusted_ca": {"filename": f"{certificates}/ca.pem"}}
    if out:
        name = f"{IDENTITY['in']}.{TRUST_DOMAIN}"
        validation["match_typed_subject_alt_names"] = [{"san_type": "DNS", "matcher": {"exact": name}}]
    common = {
        "tls_certificates": [{"certificate_chain": {"filename": f"{certificates}/{side}.pem"},
                              "private_key": {"filename": f"{certificates}/{side}.key"}}],
        "validation_context": validation,
    }
    context = "UpstreamTlsContext" if out else "DownstreamTlsContext"
    fields = {} if out else {"require_client_certificate": True}
    return _typed("envoy.transport_sockets.tls", f"transport_sockets.tls.v3.{context}", common_tls_context=common, **fields)


def _envoy_cluster(kind, address, tls):
    limits = {"max_connections": 8192, "max_requests": 8192, "max_pending_requests": 8192}
    cluster = {
        "name": kind, "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": kind, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": _address(address, PORTS[kind])}}]}]},
    }
    versions = {"h1": {"http_protocol_options": {}}, "h2": {"http2_protocol_options": {"max_concurrent_streams": 1024}}}
    if kind in versions:
        proto = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {proto: {
            "@type": f"type.googleapis.com/{proto}", "common_http_protocol_options": {"idle_timeout": "3600s"},
            "explicit_http_config": versions[kind]}}
    if tls:
        cluster["transport_socket"] = tls
    return cluster


def _envoy_filter(kind):
    if PROTOCOL[kind] == "tcp":
        return _typed("envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy",
                      stat_prefix=kind, cluster=kind, idle_timeout="3600s")
    route = {"match": {"prefix": "/"}, "route": {"cluster": kind, "timeout": "0s"}}
    return _typed(
        "envoy.filters.network.http_connection_manager", "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=kind, codec_type="AUTO", common_http_protocol_options={"idle_timeout": "3600s"},
        http2_protocol_options={"max_concurrent_streams": 1024},
        route_config={"name": kind, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )


def envoy(side, port, certificates):
    """Envoy's bootstrap for one side: transparent, one filter chain for each original destination port."""
    out = side == "out"
    chains, clusters = [], []
    for kind in PORTS:
        chain = {"filter_chain_match": {"destination_port": PORTS[kind]}, "filters": [_envoy_filter(kind)]}
        tls = _envoy_tls(side, certificates) if certificates else None
        if tls and not out:
            chain["transport_socket"] = tls
        chains.append(chain)
        clusters.append(_envoy_cluster(kind, SERVER if out else "127.0.0.1", tls if out else None))
    listener = {
        "name": side, "address": _address("0.0.0.0", port), "filter_chains": chains,
        "listener_filters": [_typed("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst")],
    }
    return json.dumps({
        "admin": {"address": _address("127.0.0.1", 15000)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }, indent=1)
