#!/bin/bash
# What recording, the file and replaying cost on this machine, each side by side in one run with what
# else the machine has of the kind. It prints and judges nothing. `make bench` calls it, with the
# workspace built. Ratios are what to look at.
#
#   RUNS=5              rounds; the median (recording) or the best (replaying) counts
#   REPLAY_REQUESTS     redis requests that are recorded for replaying: 1,500,000 make 20 million events
#   REQUESTS, CALLS, BENCH_SECONDS    smaller numbers for a quick look
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --release --locked --workspace --examples
# The one that has pyarrow, if it is there.
python=${bin%/release}/venv/bin/python
[ -x "$python" ] || python=python3
"$python" scripts/bench_record.py "$bin" "$work"

# ---- the file: bytes per row and column, encode and decode, beside Arrow IPC and plain Parquet ---

capture=$work/reference.kndl
"$bin/kindling-record" -o "$capture" -- scripts/reference-workload.sh 2>&1 | grep -v '^kindling-record: without' || :
"$bin/kindling-replay" info "$capture" --format json >"$work/info.json"
python3 - "$work/info.json" <<'REPORT'
import json, sys
tables = json.load(open(sys.argv[1]))["info"]["tables"]
events = {"syscalls", "arguments", "switches", "wakeups", "samples", "io_uring", "tcp"}
left_out = {"payloads", "symbols"}
rows = sum(t["rows"] for t in tables if t["table"] in events)
size = sum(t["size_bytes"] for t in tables if t["table"] not in left_out)
print(f"reference workload: {rows} events, {size / max(rows, 1):.2f} bytes per event without payloads and symbols")
REPORT
"$bin/kindling-replay" compact "$capture" -o "$work/compact.kndl" 2>/dev/null
awk -v a="$(stat -c %s "$capture")" -v b="$(stat -c %s "$work/compact.kndl")" \
    'BEGIN { printf "  compact: %d bytes instead of %d, %.1f %% less\n\n", b, a, 100 - 100 * b / a }'
KINDLING_CAPTURE=$capture cargo bench --quiet --locked --workspace --bench members

if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
    python3 scripts/bench_replay.py "$bin" "$work" "${REPLAY_REQUESTS:-1500000}"
else
    echo "replay: left out, not installed: redis"
fi
