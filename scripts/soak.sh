#!/bin/bash
# A soak: Redis under as much load as this machine gives, recorded with payloads for SECONDS (300), and at
# the end a judgement. `make soak` calls it, with the workspace built. Usage: scripts/soak.sh [SECONDS]
#
# Exits with 1 unless
#   - the recorder's memory stays flat: its maximum in the last minute is at most a tenth above that in the
#     second minute (in less than three minutes: second half and first half);
#   - recorded + lost = made, for the calls of a program that runs beside Redis again and again and counts
#     them itself, and for the commands that Redis says it executed, each of which is one read;
#   - every file of the capture passes `kindling-replay check`.
# Losses are counted for the whole target, so where there are some, what is missing is at most that many;
# without losses the counts are equal.
#
# The capture is rotated every ten seconds; finished files are checked, counted and removed while recording
# goes on, so that the disk does not fill.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
seconds=${1:-300}
port=${KINDLING_DEMO_REDIS_PORT:-16379}
python=${CARGO_TARGET_DIR:-target}/venv/bin/python
work=$(mktemp -d)
recorder=
trap '[ -z "$recorder" ] || kill "$recorder" 2>/dev/null || :; rm -rf "$work"' EXIT

for program in redis-server redis-benchmark redis-cli cc "$python"; do
    command -v "$program" >/dev/null || { echo "soak: no $program: scripts/setup.sh installs it" >&2; exit 2; }
done
if ! [[ $seconds =~ ^[0-9]+$ ]] || ((seconds < 20)); then
    echo "soak: takes at least 20 seconds, not $seconds" >&2
    exit 2
fi

cc -std=gnu11 -O2 -pthread -o "$work/storm" kindling-record/tests/ground_truth/storm.c

# The target: Redis, its client at full load, and short processes with a known number of calls.
cat >"$work/load.sh" <<'LOAD'
#!/bin/bash
set -euo pipefail
cd "$1"
redis-server --port "$2" --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
server=$!
echo $server >redis.pid
# Not another one that has the port.
until redis-cli -p "$2" info server 2>/dev/null | tr -d '\r' | grep -qx "process_id:$server"; do
    kill -0 $server || { echo "redis-server does not run: is port $2 in use?" >&2; exit 1; }
    sleep 0.05
done
redis-benchmark -p "$2" -t set,get -c 50 -d 128 -l -q >/dev/null 2>&1 &
client=$!
end=$((SECONDS + $3))
while ((SECONDS < end)); do
    ./storm 20000 >>storms.json
    sleep 0.1
done
kill $client
wait $client || :
redis-cli -p "$2" info commandstats >commands.txt
redis-cli -p "$2" shutdown nosave
wait
LOAD

# Prints a line about a finished file and keeps its numbers, as Python reads them: not our own reader.
cat >"$work/part.py" <<'PART'
import io, json, os, platform, sys, zipfile
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
path, check, work = sys.argv[1:]
READ, GETPPID = {"x86_64": (0, 110), "aarch64": (63, 173)}[platform.machine()]
redis = int(open(f"{work}/redis.pid").read())
archive = zipfile.ZipFile(path)
members = [name for name in archive.namelist() if name.count("/") == 1]

def of(table, columns):
    for name in members:
        if name.endswith(f"/{table}.parquet"):
            yield pq.read_table(io.BytesIO(archive.read(name)), columns=columns)

def rows_of(table, columns):
    return [row for rows in of(table, columns) for row in rows.to_pylist()]

rows = sum(pq.ParquetFile(io.BytesIO(archive.read(name))).metadata.num_rows for name in members)
sockets = pa.array({row["id"] for row in rows_of("files", ["id", "kind"]) if row["kind"] == "tcp"}, pa.uint32())
storms, commands = {}, 0
for calls in of("syscalls", ["nr", "pid", "ret", "file"]):
    pids = calls.filter(pc.equal(calls["nr"], GETPPID))["pid"].value_counts()
    for count in pids.to_pylist():
        storms[count["values"]] = storms.get(count["values"], 0) + count["counts"]
    reads = pc.and_(pc.equal(calls["nr"], READ), pc.equal(calls["pid"], redis))
    reads = calls.filter(pc.and_(reads, pc.greater(calls["ret"], 0)))
    commands += pc.sum(pc.is_in(reads["file"], value_set=sockets)).as_py() or 0
losses = rows_of("losses", ["source", "count"])
seconds = rows_of("overhead", ["dur", "cpu_ns", "rss_bytes", "bpf_ns", "bpf_sampled_ns"])
length_ns = sum(row["dur"] for row in seconds)
sampled_ns = sum(row["bpf_sampled_ns"] or 0 for row in seconds)
part = {
    "check": check, "length_ns": length_ns, "rows": rows, "size_bytes": os.path.getsize(path),
    "rss_bytes": max(row["rss_bytes"] for row in seconds), "storms": storms, "commands": commands,
    "lost": sum(row["count"] for row in losses),
    "lost_syscalls": sum(row["count"] for row in losses if row["source"] == "syscalls"),
}
at_ns = 0
if os.path.exists(f"{work}/parts.json"):
    at_ns = sum(json.loads(line)["length_ns"] for line in open(f"{work}/parts.json"))
else:
    print(f"{'from':>6}{'memory':>12}{'recorder':>11}{'BPF':>8}{'rows':>12}{'lost':>9}{'bytes':>13}  check")
with open(f"{work}/parts.json", "a") as parts:
    print(json.dumps(part), file=parts)
cpu = 100 * sum(row["cpu_ns"] for row in seconds) / length_ns
bpf = f"{100 * sum(row['bpf_ns'] or 0 for row in seconds) / sampled_ns:.1f} %" if sampled_ns else "-"
print(f"{at_ns / 1e9:4.0f} s{part['rss_bytes'] / 2**20:8.1f} MiB{cpu:9.1f} %{bpf:>8}"
      f"{rows:12}{part['lost']:9}{part['size_bytes']:13}  {check}", flush=True)
# Arrow's threads, left to the interpreter's end, abort it now and then.
os._exit(0)
PART

judge_part() { # FILE
    local check=fine status=0
    "$bin/kindling-replay" check "$1" >"$work/check.txt" 2>&1 || status=$?
    # 3: sound, but it says that events were lost, which is compared below.
    if ((status != 0 && status != 3)); then check=$(tail -n 1 "$work/check.txt"); fi
    "$python" "$work/part.py" "$1" "$check" "$work"
    rm "$1"
}

echo "soak: Redis at full load for $seconds s on $(nproc) CPUs, recorded with payloads"
"$bin/kindling-record" -o "$work/soak.kndl" --rotate 10s -- \
    bash "$work/load.sh" "$work" "$port" "$seconds" >"$work/recorder.txt" 2>&1 &
recorder=$!
while kill -0 "$recorder" 2>/dev/null; do
    sleep 1
    # The last one is still being written, and the one before it may not be finished yet.
    for part in $(find "$work" -name 'soak.*.kndl' | sort | head -n -2); do
        judge_part "$part"
    done
done
status=0
wait "$recorder" || status=$?
recorder=
for part in $(find "$work" -name 'soak.*.kndl' | sort); do
    judge_part "$part"
done
# 3: recorded, but events were lost.
if ((status != 0 && status != 3)) || ! [ -s "$work/commands.txt" ]; then
    cat "$work/recorder.txt" >&2
    echo "soak: FAILED: the recorder ended with $status, or its target before the end" >&2
    exit 1
fi

"$python" - "$work" "$seconds" <<'JUDGE'
import json, re, sys
work, seconds = sys.argv[1], int(sys.argv[2])
parts = [json.loads(line) for line in open(f"{work}/parts.json")]
failed = []
def judge(holds, text):
    print(f"  {'ok    ' if holds else 'FAILED'}  {text}")
    if not holds:
        failed.append(text)
def total(what):
    return sum(part[what] for part in parts)

print("soak:")
at_s, memory = 0, []
for part in parts:
    memory.append((at_s, part["rss_bytes"] / 2**20))
    at_s += part["length_ns"] / 1e9
def most(since_s, until_s):
    return max(rss for at, rss in memory if since_s <= at < until_s)
if seconds >= 180:
    before, after, when = most(60, 120), most(at_s - 60, at_s), "the second minute and the last"
else:
    before, after, when = most(0, at_s / 2), most(at_s / 2, at_s), "the first half and the second"
judge(after <= 1.1 * before, f"memory: at most {before:.1f} and {after:.1f} MiB in {when}")

storms = [json.loads(line) for line in open(f"{work}/storms.json")]
commands = dict(re.findall(r"cmdstat_(\S+?):calls=(\d+)", open(f"{work}/commands.txt").read()))
commands = {name: int(calls) for name, calls in commands.items()}
lost = total("lost_syscalls")
def compare(what, made, recorded, more=0):
    judge(0 < recorded <= made + more and made <= recorded + lost,
          f"{what}: {made} made, {recorded} recorded, at most {lost} lost")
pids = {str(storm["pid"]) for storm in storms}
recorded = sum(count for part in parts for pid, count in part["storms"].items() if pid in pids)
compare(f"getppid of {len(storms)} processes", sum(storm["calls"] for storm in storms), recorded)
asked = commands["get"] + commands["set"]
# Connecting and asking for these numbers are commands too.
others = sum(commands.values()) - asked + 1
compare(f"reads of redis-server for GET and SET (and up to {others} for others)", asked, total("commands"), others)
bad = [part["check"] for part in parts if part["check"] != "fine"]
judge(not bad, f"check: {len(parts) - len(bad)} of {len(parts)} files are fine {'; '.join(bad)}".rstrip())

length_s = total("length_ns") / 1e9
print(f"  {total('rows')} rows, {total('lost')} events lost, {total('size_bytes')} bytes in {length_s:.0f} s:"
      f" {total('rows') / length_s:.0f} rows/s, {asked / length_s:.0f} Redis commands/s")
sys.exit(1 if failed else 0)
JUDGE
