#!/usr/bin/env bash
# What `make demo` shows: the bookstore on this machine, step by step, with every command as you would type it.
# Ends with exit code 1 if something is not as expected. FSM_DEMO_KEEP=1 leaves the mesh running.
set -uo pipefail
cd "$(dirname "$0")/../.."
export PATH="${FSM_DEMO_PROGRAMS:-$PWD/target/debug}:$PATH"
export FSM_MESH=demo

held=0
broken=()
answer=

step() { printf '\n== %s\n' "$*"; }
show() { printf '%s\n' "$1" | sed 's/^/   /'; }

# A command as one would type it.
typed() {
    local word line=
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_.:/=,-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '\n$%s\n' "$line"
}

# Runs a command, shows it and what it says.
run() {
    typed "$@"
    answer=$("$@" 2>&1)
    show "$answer"
}

# Applies the YAML that is given, and shows it.
apply() {
    local yaml
    yaml=$(cat)
    printf '\n$ fsm apply -f - <<EOF\n%s\nEOF\n' "$yaml"
    answer=$(fsm apply -f - <<<"$yaml" 2>&1)
    show "$answer"
}

# Tells whether the last answer has a line like this.
expect() {
    local what=$1 pattern=$2
    if grep -qE "$pattern" <<<"$answer"; then
        held=$((held + 1))
        echo "   ok: $what"
    else
        broken+=("$what")
        echo "   NOT AS EXPECTED: $what (no line like: $pattern)"
    fi
}

# Runs a command again and again until it says something like this, but not for ever: pods start, policies travel.
soon() {
    local what=$1 pattern=$2 last=$((SECONDS + 20))
    shift 2
    until answer=$("$@" 2>&1) && grep -qE "$pattern" <<<"$answer" || [ "$SECONDS" -ge "$last" ]; do
        sleep 0.1
    done
    typed "$@"
    show "$answer"
    expect "$what" "$pattern"
}

finish() {
    if [ -z "${FSM_DEMO_KEEP:-}" ]; then
        fsm down >/dev/null 2>&1
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "FSM in one minute: a bookstore, its customer, and a thief, each in a pod of its own with a sidecar."
fsm down --name demo >/dev/null 2>&1 || true

step "A mesh on this machine: ordinary Kubernetes YAML, network namespaces as pods, no cluster, nothing to download"
printf '\n$ fsm up examples/bookstore --detach\n'
if ! fsm up examples/bookstore --detach 2>&1 | sed 's/^/   /'; then
    echo "The mesh did not start. What its programs said:"
    fsm logs daemon 2>&1 | tail -n 20
    fsm get pods -A
    exit 1
fi
run fsm get pods -A
expect "five applications run, each with a sidecar (2/2)" 'bookbuyer.* 2/2 +Running'

step "Traffic: the buyer gets its books, and each sold book is ordered from the warehouse"
soon "the buyer buys from version 1" 'bought a book from bookstore-v1' fsm logs deploy/bookbuyer -n bookbuyer --tail 3
soon "the warehouse knows its caller by the certificate, not by what it claims" 'for bookstore-v1.bookstore' \
    fsm logs deploy/bookwarehouse -n bookwarehouse --tail 2

step "The thief: it is in no policy, so its own sidecar knows no way to the store, and the store's lets no stranger in"
soon "the thief gets nothing" 'no book' fsm logs deploy/bookthief -n bookthief --tail 1

step "Let it look at the books that were bought, and nothing more"
apply <<'EOF'
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: looking, namespace: bookstore}
spec:
  matches:
    - name: look
      pathRegex: /books-bought
      methods: [GET]
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: thief-looks, namespace: bookstore}
spec:
  destination: {kind: ServiceAccount, name: bookstore-v1, namespace: bookstore}
  rules:
    - {kind: HTTPRouteGroup, name: looking, matches: [look]}
  sources:
    - {kind: ServiceAccount, name: bookthief, namespace: bookthief}
EOF
soon "it may look" '^HTTP/1.1 200' \
    fsm exec deploy/bookthief -n bookthief -- curl -si --max-time 5 http://bookstore.bookstore:14001/books-bought
run fsm exec deploy/bookthief -n bookthief -- \
    curl -si --max-time 5 -H 'serviceidentity: bookbuyer.bookbuyer' http://bookstore.bookstore:14001/buy-a-book/new
expect "it may not buy, whoever it claims to be" '^HTTP/1.1 403'
expect "and the refusal tells its reason" '^x-fsm-reason: '

step "A canary: half of the books come from version 2, then all of them"
canary() {
    apply <<EOF
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: bookstore-split, namespace: bookstore}
spec:
  service: bookstore.bookstore
  backends:
    - {service: bookstore-v1, weight: $1}
    - {service: bookstore-v2, weight: $2}
EOF
}
canary 50 50
soon "version 2 sells, too" 'bought a book from bookstore-v2' fsm logs deploy/bookbuyer -n bookbuyer --tail 4
canary 0 100
run fsm get trafficsplit -n bookstore
expect "the control plane has nothing against it" 'bookstore-v2=100 +Accepted'
run fsm proxy get config_status deploy/bookbuyer -n bookbuyer
expect "its sidecar has heard of it, and found nothing wrong" '"problems": 0'
only_second() {
    local log
    log=$(fsm logs deploy/bookbuyer -n bookbuyer --tail 4 | grep bought)
    [ -n "$log" ] && ! grep -q bookstore-v1 <<<"$log" && echo "$log"
}
soon "only version 2 sells" 'bookstore-v2' only_second

step "Certificates: every sidecar made its own key, and got a certificate for its service account"
run fsm proxy get certs deploy/bookbuyer -n bookbuyer
answer=$(grep -E 'subject|spiffe|notAfter' <<<"$answer")
expect "the buyer is who it is" 'CN=bookbuyer.bookbuyer.cluster.local'
expect "also as SPIFFE wants it" 'spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer'

if [ -n "${FSM_DEMO_KEEP:-}" ]; then
    step "The mesh is still there: repeat the commands with --name demo, and end it with: fsm down --name demo"
else
    step "Down: no process, namespace, rule or file is left"
    run fsm down
    expect "the mesh is gone" 'Mesh \[demo\] is down'
fi

echo
if [ ${#broken[@]} -gt 0 ]; then
    printf '%d expectations held after %d s, but not: %s\n' "$held" "$SECONDS" "${broken[*]}"
    exit 1
fi
echo "All $held expectations held, in $SECONDS s."
