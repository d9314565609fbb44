#!/bin/bash
# Records the captures of samples/ anew, on this machine. samples/README.md says what each is for.
# `make samples` calls it, with the workspace built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
record=${CARGO_TARGET_DIR:-$PWD/target}/release/kindling-record
limit_bytes=1000000

dir=$(samples/demo/install.sh)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# The demo workload, small.
"$record" --sample-hz 999 -o "$made/demo.kndl" -- "$dir/run.sh" quick
cp "$dir/counts.json" "$made/demo.counts.json"

# Threads that each block for one known reason.
ground_truth=$PWD/kindling-record/tests/ground_truth
cp "$ground_truth/truth.h" "$ground_truth/waits.c" "$dir/"
(cd "$dir" && ${CC:-cc} -std=gnu11 -O2 -g -fno-omit-frame-pointer -pthread -o waits waits.c)
"$record" --sample-hz 999 -o "$made/waits.kndl" -- "$dir/waits" 100 >"$made/waits.truth.json"

# A recorder that is killed when it has written some seconds: the workload goes on by itself.
"$record" -o "$made/killed.kndl" -- "$dir/run.sh" full >"$made/killed.log" 2>&1 &
recorder=$!
while [ "$(stat -c %s "$made/killed.kndl" 2>/dev/null || echo 0)" -lt 150000 ]; do
    kill -0 $recorder
    sleep 0.1
done
kill -KILL $recorder
wait $recorder 2>/dev/null || :
# Nothing may hold the demo's ports when the next recording begins.
while pgrep -f "^/bin/bash $dir/run.sh" >/dev/null; do sleep 0.1; done
rm "$made/killed.log"
for file in "$made"/*; do
    size=$(stat -c %s "$file")
    if [ "$size" -gt $limit_bytes ]; then
        echo "record-samples: ${file##*/} has $size bytes, more than $limit_bytes" >&2
        exit 1
    fi
done
chmod 644 "$made"/*
mv "$made"/* samples/
ls -l samples/*.kndl
