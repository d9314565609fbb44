#!/bin/sh
# Lints the shell scripts, where shellcheck is installed.
set -eu
cd "$(dirname "$0")/.."
if ! command -v shellcheck >/dev/null; then
    echo "check-shell: SKIPPED: no shellcheck" >&2
    exit 0
fi
shellcheck .ci/run scripts/*.sh samples/demo/*.sh
echo "check-shell: ok"
