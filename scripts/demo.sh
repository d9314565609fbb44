#!/bin/bash
# Records the demo workload, or takes the recorded one of samples/ where this machine cannot, and
# replays it into out/. `make demo` calls it, with the workspace built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${CARGO_TARGET_DIR:-target}/release
capture=out/demo.kndl
counts=out/counts.json

headline() { printf '\n== %s\n' "$*"; }

# Records the demo workload into $capture; false, with a reason on stderr, where that cannot be done.
record() {
    [ -x "$bin/kindling-record" ] || { echo "the recorder is for Linux" >&2; return 1; }
    "$bin/kindling-record" doctor || return 1
    [ "$(id -u)" = 0 ] || { echo "recording needs root" >&2; return 1; }
    local program dir
    for program in cc nginx redis-server redis-benchmark ab; do
        command -v $program >/dev/null || { echo "no $program: scripts/setup.sh installs it" >&2; return 1; }
    done
    dir=$(samples/demo/install.sh) || return 1
    rm -f "$dir/counts.json"
    local status=0
    # The workload lasts seconds: 999 samples a second show where they went.
    "$bin/kindling-record" --sample-hz 999 -o "$capture" -- "$dir/run.sh" full >out/workload.log 2>&1 || status=$?
    # 3: recorded, but events were lost; every answer will say so.
    if [ $status != 0 ] && [ $status != 3 ]; then
        cat out/workload.log >&2
        return 1
    fi
    tail -n 1 out/workload.log
    cp "$dir/counts.json" "$counts" || { tail out/workload.log >&2; return 1; }
}

rm -rf out
mkdir -p out
headline "recording nginx under ab, redis-server under redis-benchmark, and a client of both"
if ! record; then
    headline "not recorded here: replaying samples/demo.kndl instead"
    cp samples/demo.kndl "$capture"
    cp samples/demo.counts.json "$counts"
fi

# 3: answered, but events were lost, as the answer says.
replay() { "$bin/kindling-replay" "$@" || [ $? = 3 ]; }
headline "what was recorded: $capture"
replay info "$capture"
replay threads "$capture" --format svg -o out/threads.svg
replay flame "$capture" --format svg -o out/flame-on-cpu.svg
replay flame "$capture" --kind off-cpu --format svg -o out/flame-off-cpu.svg
replay flows "$capture" --format svg -o out/flows.svg

headline "pictures"
for picture in out/*.svg; do echo "$PWD/$picture"; done

headline "who talked to whom: flows"
replay flows "$capture"
headline "what the senders and the servers of the workload counted themselves"
cat "$counts"
headline "the slowest requests in the capture: rpcs"
replay rpcs "$capture" --top 10
headline "the slowest one in detail: rpc slowest"
replay rpc "$capture" slowest
