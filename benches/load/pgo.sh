#!/usr/bin/env bash
# Builds fsm-proxy from a profile of itself under load (profile-guided optimisation), into target/pgo/fsm-proxy:
# an instrumented build, `train.py`, and the build that uses what it saw. Root, for the training; three builds' time.
# docs/benchmarks.md says what it brings.
set -euo pipefail
cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
directory=$PWD/target/pgo

# rustc writes profiles of its own LLVM: only the same release reads them for certain.
profdata=$(command -v "llvm-profdata-$llvm" ||
    ls "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" 2>/dev/null ||
    { echo "no llvm-profdata of LLVM $llvm: apt-get install llvm-$llvm, or rustup component add llvm-tools" >&2; exit 1; })

build() {
    # With a target named, build scripts and macros are not built with these flags.
    RUSTFLAGS="$1" cargo build --profile dist -p fsm-proxy --target "$host" --target-dir "$directory/$2"
}

build "-Cprofile-generate" instrumented
python3 benches/load/train.py "$directory/instrumented/$host/dist/fsm-proxy" "$directory/raw"
"$profdata" merge --output "$directory/fsm-proxy.profdata" "$directory"/raw/*.profraw
build "-Cprofile-use=$directory/fsm-proxy.profdata" optimised
install -t "$directory" "$directory/optimised/$host/dist/fsm-proxy"
echo "$directory/fsm-proxy"
