#!/bin/bash
# Every test that this machine allows; at the end, what was left out and why.
# `make test` calls it, with the workspace built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
log=$target/test.log
read -ra build <<<"--release --locked ${PACKAGES:---workspace}"

if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "${build[@]}" --no-fail-fast 2>&1 | tee "$log"
else
    cargo test "${build[@]}" --no-fail-fast --lib --bins --tests -- --show-output 2>&1 | tee "$log"
fi
cargo test "${build[@]}" --doc --quiet 2>&1 | tee -a "$log"

skipped=$(sed -n 's/.*\(SKIPPED: .*\)/  \1/p' "$log" | sort | uniq -c || :)
if [ "$skipped" ]; then
    printf '\ntests: all passed, but this machine left some out:\n%s\n' "$skipped"
else
    printf '\ntests: all passed, none left out\n'
fi
