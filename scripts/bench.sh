#!/bin/bash
# What recording and replaying cost on this machine, side by side in one run: bare, under Kindling,
# and under what else the machine has of the kind. It prints and judges nothing.
# `make bench` calls it, with the workspace built.
#
# Ratios are what to look at: each is of two runs right after one another. The best of RUNS runs counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
runs=${RUNS:-3}
calls=${CALLS:-1000000}
requests=${REQUESTS:-100000}
port=${KINDLING_DEMO_REDIS_PORT:-16379}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

has() { command -v "$1" >/dev/null 2>&1; }

# best less|more COMMAND…: the least or greatest number that the command prints in $runs runs
best() {
    local order=-g run
    if [ "$1" = more ]; then order=-rg; fi
    shift
    for ((run = 0; run < runs; run++)); do "$@"; done | sort $order | head -n 1
}

kindling=("$bin/kindling-record" -o "$work/bench.kndl")

# ---- syscalls: one thread that does nothing else -----------------------------------------------

cc -std=gnu11 -O2 -pthread -o "$work/storm" kindling-record/tests/ground_truth/storm.c

# Nanoseconds per call, as the program itself measures; a recorder's start is not in it.
storm_ns() { # COMMAND… that runs the program it is given
    "$@" "$work/storm" "$calls" 2>/dev/null | sed -n "s/.*\"took_ns\": \([0-9]*\).*/\1/p" |
        awk -v calls="$calls" '{ printf "%.1f\n", $1 / calls }'
}

bare_ns=$(best less storm_ns env)
row() { # NAME NS
    awk -v name="$1" -v ns="$2" -v bare="$bare_ns" \
        'BEGIN { printf "  %-34s %9.1f ns/call  %+9.1f  %6.2f x\n", name, ns, ns - bare, ns / bare }'
}
echo "getppid, $calls calls"
row bare "$bare_ns"
row kindling-record "$(best less storm_ns "${kindling[@]}" --)"
row "kindling-record --sample-hz 0" "$(best less storm_ns "${kindling[@]}" --sample-hz 0 --)"
events=$("$bin/kindling-replay" info "$work/bench.kndl" --format json |
    sed -n 's/.*"lost": *\([0-9]*\).*/\1/p' | head -n 1)
bytes=$(stat -c %s "$work/bench.kndl")
echo "  capture: $bytes bytes, $(awk -v b="$bytes" -v c="$calls" 'BEGIN { printf "%.2f", b / c }') per call; lost: ${events:-0}"
if has perf && perf trace -e getppid -o /dev/null true 2>/dev/null; then
    row "perf trace record" "$(best less storm_ns perf trace record -o "$work/perf.data" --)"
fi
if has strace; then
    # A tenth of the calls: strace stops the program twice for each.
    calls=$((calls / 10))
    row "strace -f -o FILE" "$(best less storm_ns strace -f -o "$work/strace.txt" --)"
fi

# ---- Redis: client and server, everything recorded ---------------------------------------------

# Starts a server, prints the requests per second of GET, and ends the server.
cat >"$work/redis.sh" <<'SCRIPT'
redis-server --port "$1" --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
until redis-cli -p "$1" ping >/dev/null 2>&1; do sleep 0.05; done
redis-benchmark -p "$1" -t get -n "$2" -c 50 --csv | awk -F'"' '$2 == "GET" { print $4 }'
kill %1
# The next server needs the port.
wait
SCRIPT

redis_rate() { # COMMAND… that runs the program it is given
    "$@" bash "$work/redis.sh" "$port" "$requests" 2>/dev/null
}

if has redis-server && has redis-benchmark; then
    bare=$(best more redis_rate env)
    redis_row() { # NAME RATE
        printf '  %-34s %9.0f /s  %5.1f %%\n' "$1" "$2" "$(awk -v a="$2" -v b="$bare" 'BEGIN { print 100 * a / b }')"
    }
    echo "redis GET, $requests requests, 50 connections, client and server recorded"
    redis_row bare "$bare"
    redis_row kindling-record "$(best more redis_rate "${kindling[@]}" --)"
    redis_row "kindling-record --no-payload" "$(best more redis_rate "${kindling[@]}" --no-payload --)"
fi

# ---- the file: bytes per row and column, encode and decode, beside Arrow IPC and plain Parquet ---

"${kindling[@]}" -- scripts/reference-workload.sh 2>&1 | grep -v '^kindling-record: without' || :
whole=$(stat -c %s "$work/bench.kndl")
"$bin/kindling-replay" info "$work/bench.kndl" --format json >"$work/info.json"
python3 - "$work/info.json" <<'REPORT'
import json, sys
tables = json.load(open(sys.argv[1]))["info"]["tables"]
events = {"syscalls", "arguments", "switches", "wakeups", "samples", "io_uring", "tcp"}
left_out = {"payloads", "symbols"}
rows = sum(t["rows"] for t in tables if t["table"] in events)
size = sum(t["size_bytes"] for t in tables if t["table"] not in left_out)
print(f"reference workload: {rows} events, {size / max(rows, 1):.2f} bytes per event without payloads and symbols")
REPORT
"$bin/kindling-replay" compact "$work/bench.kndl" -o "$work/compact.kndl" 2>/dev/null
awk -v a="$whole" -v b="$(stat -c %s "$work/compact.kndl")" \
    'BEGIN { printf "  compact: %d bytes instead of %d, %.1f %% less\n\n", b, a, 100 - 100 * b / a }'
KINDLING_CAPTURE=$work/bench.kndl cargo bench --quiet --locked --workspace --bench members

# ---- replay --------------------------------------------------------------------------------------

echo "replay of $(stat -c %s "$work/bench.kndl") bytes"
for command in info syscalls threads rpcs; do
    for jobs in 1 "$(nproc)"; do
        replay_s() {
            local TIMEFORMAT=%R
            { time "$bin/kindling-replay" "$command" "$work/bench.kndl" --jobs "$jobs" >"$work/answer" 2>/dev/null; } 2>&1
        }
        printf '  %-34s %9.2f s\n' "$command --jobs $jobs" "$(best less replay_s)"
    done
done
