#!/bin/bash
# Records the captures of samples/ anew, on this machine. samples/README.md says what each is for.
# `make samples` calls it, with the workspace built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
recorder=${CARGO_TARGET_DIR:-$PWD/target}/release/kindling-record
limit_bytes=1000000

dir=$(samples/demo/install.sh)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# Records a command in the demo's directory, with nothing of this machine's environment: a capture holds
# the paths that a shell tries.
record() { # NAME COMMAND...
    cd "$dir"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$dir" LANG=C.UTF-8 \
        "$recorder" --flush 300ms -o "$made/$1.kndl" -- "${@:2}" >"$dir/output.txt" 2>"$dir/errors.txt" </dev/null
}

# The demo workload, small.
(record demo "$dir/run.sh" quick)
cp "$dir/counts.json" "$made/demo.counts.json"

ground_truth=$PWD/kindling-record/tests/ground_truth
cp "$ground_truth"/{truth.h,loopback.h,waits.c,locks.c} "$dir/"
compile() { # NAME
    (cd "$dir" && ${CC:-cc} -std=gnu11 -O2 -g -fno-omit-frame-pointer -pthread -o "$1" "$1.c")
}

# Threads that each block for one known reason.
compile waits
(record waits "$dir/waits" 100)
cp "$dir/output.txt" "$made/waits.truth.json"

# Threads that contend for locks of each kind.
compile locks
(record locks "$dir/locks" 10 4)
cp "$dir/output.txt" "$made/locks.truth.json"

# A recorder that is killed in the middle: the demo workload goes on by itself.
(record killed "$dir/run.sh" full) &
killed=$!
until [ "$(stat -c %s "$made/killed.kndl" 2>/dev/null || echo 0)" -gt 100000 ]; do sleep 0.05; done
kill -KILL $killed
wait $killed 2>/dev/null || :
# Nothing may hold the demo's ports when the next recording begins.
while pgrep -f "^/bin/bash $dir/run.sh" >/dev/null; do sleep 0.1; done

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
