#!/usr/bin/env python3
"""What recording costs: workloads bare, under Kindling, under the least that any recorder of syscalls does
(`floor`), and under what else the machine has of the kind. `scripts/bench.sh` calls it; it prints and
judges nothing.

usage: bench_record.py BIN_DIR WORK_DIR

Every round runs all of them one after another, so that each ratio is of neighbours in time; the median
of the rounds counts (RUNS, 5).
"""

import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import zipfile

try:
    import pyarrow.parquet
except ImportError:
    pyarrow = None

RUNS = int(os.environ.get("RUNS", 5))
CALLS = int(os.environ.get("CALLS", 1_000_000))
REQUESTS = int(os.environ.get("REQUESTS", 300_000))
SECONDS = int(os.environ.get("BENCH_SECONDS", 3))
REDIS_PORT = os.environ.get("KINDLING_DEMO_REDIS_PORT", "16379")
HTTP_PORT = os.environ.get("KINDLING_DEMO_HTTP_PORT", "18080")
POSTGRES_PORT = os.environ.get("KINDLING_BENCH_POSTGRES_PORT", "15432")
# So many times fewer calls for what stops the program at each.
SLOW_SHARE = 20

REDIS = f"""
redis-server --port {REDIS_PORT} --bind 127.0.0.1 --save '' --appendonly no >/dev/null &
until redis-cli -p {REDIS_PORT} ping >/dev/null 2>&1; do sleep 0.05; done
redis-benchmark -p {REDIS_PORT} -t get -n "$1" -c 50 --csv | awk -F'"' '$2 == "GET" {{ print "rate", $4 }}'
kill %1
wait
"""

NGINX = f"""
nginx -p "$WEB" -c nginx.conf 2>/dev/null &
until (exec 3<>/dev/tcp/127.0.0.1/{HTTP_PORT}) 2>/dev/null; do sleep 0.05; done
wrk -t 1 -c 16 -d {SECONDS}s http://127.0.0.1:{HTTP_PORT}/index.txt | awk '/^Requests/ {{ print "rate", $2 }}'
kill %%
wait
"""

# A server refuses to run as root; its data are made before.
POSTGRES = f"""
$AS_POSTGRES "$PG_BIN/postgres" -D "$PG_DATA" -p {POSTGRES_PORT} -k "$PG_DATA" >/dev/null 2>&1 &
until $AS_POSTGRES "$PG_BIN/pg_isready" -q -h "$PG_DATA" -p {POSTGRES_PORT}; do sleep 0.05; done
$AS_POSTGRES "$PG_BIN/pgbench" -n -S -c 4 -T {SECONDS} -h "$PG_DATA" -p {POSTGRES_PORT} bench 2>/dev/null |
    awk '/^tps/ {{ print "rate", $3 }}'
kill %1
wait
"""


def run(command, env=None):
    """Runs a command; the number in its line `rate N` or `"took_ns": N`, if it has one."""
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    found = re.search(r"(?:^rate |\"took_ns\": )([0-9.]+)", done.stdout, re.MULTILINE)
    return float(found[1]) if found else None


class Recorders:
    """What a workload can run under: name, the words before its command, and whether it is slow."""

    def __init__(self, bin_dir, work):
        self.work = work
        capture = ["-o", os.path.join(work, "record.kndl")]
        kindling = [os.path.join(bin_dir, "kindling-record"), *capture]
        self.rows = [
            ("bare", ["env"], False),
            ("floor", [os.path.join(bin_dir, "examples", "floor")], False),
            ("kindling-record --no-payload", [*kindling, "--no-payload", "--"], False),
            ("kindling-record", [*kindling, "--"], False),
        ]
        perf = ["perf", "trace", "record", "-o", os.path.join(work, "perf.data")]
        if shutil.which("perf") and subprocess.run([*perf, "true"], capture_output=True).returncode == 0:
            self.rows.append(("perf trace record", [*perf, "--"], False))
        if shutil.which("bpftrace"):
            program = "tracepoint:raw_syscalls:sys_enter { @s[tid] = nsecs; } tracepoint:raw_syscalls:sys_exit { printf(\"%d %d %d\\n\", tid, args->id, nsecs - @s[tid]); }"
            self.rows.append(("bpftrace, a line for each call", ["bpftrace", "-q", "-o", "/dev/null", "-e", program, "-c"], False))
        if shutil.which("strace"):
            self.rows.append(("strace -f", ["strace", "-f", "-o", os.path.join(work, "strace.txt")], True))

    def command(self, words, workload):
        if words[-1] != "-c":
            return [*words, *workload]
        # bpftrace takes a command line.
        script = os.path.join(self.work, "workload.sh")
        with open(script, "w") as out:
            out.write("exec " + " ".join(f"'{word}'" for word in workload))
        # By its one name: it looks for no other.
        return [*words, f"{os.path.realpath(shutil.which('bash'))} {script}"]

    def rounds(self, workload, env=None):
        """Runs `workload(is_slow)` under each; by name the numbers of the rounds."""
        numbers = {name: [] for name, _, _ in self.rows}
        for _ in range(RUNS):
            for name, words, is_slow in self.rows:
                number = run(self.command(words, workload(is_slow)), env)
                if number is not None:
                    numbers[name].append(number)
        return numbers


def loop(recorders, storm, name, more):
    calls = lambda is_slow: CALLS // SLOW_SHARE if is_slow else CALLS
    numbers = recorders.rounds(lambda is_slow: [storm, str(calls(is_slow)), *more])
    slow = {name: is_slow for name, _, is_slow in recorders.rows}
    ns = {of: statistics.median(took) / calls(slow[of]) for of, took in numbers.items() if took}
    print(f"{name}, {CALLS} calls by one thread")
    for of, each in ns.items():
        over = each - ns["bare"]
        floor = f"  {over / (ns['floor'] - ns['bare']):6.2f} x floor" if of not in ("bare", "floor") else ""
        print(f"  {of:<32} {each:9.1f} ns/call  {over:+10.1f}{floor}")
    print()


def server(recorders, name, script, needed, env=None):
    missing = [tool for tool in needed if not shutil.which(tool)]
    if missing:
        print(f"{name}: left out, not installed: {', '.join(missing)}\n")
        return
    path = os.path.join(recorders.work, "server.sh")
    with open(path, "w") as out:
        out.write(script)
    requests = lambda is_slow: str(REQUESTS // SLOW_SHARE if is_slow else REQUESTS)
    numbers = recorders.rounds(lambda is_slow: ["bash", path, requests(is_slow)], env)
    print(f"{name}, client and server recorded")
    for of, rates in numbers.items():
        shares = [100 * rate / bare for rate, bare in zip(rates, numbers["bare"])]
        if not shares:
            print(f"  {of:<32} failed")
            continue
        spread = f"  ({min(shares):.1f} to {max(shares):.1f})" if of != "bare" else ""
        print(f"  {of:<32} {statistics.median(rates):9.0f} /s  {statistics.median(shares):6.1f} % of bare{spread}")
    print()


def user_side(bin_dir, work):
    """What the recorder's own threads take from ring to disk, of its own account of each second."""
    if not pyarrow or not shutil.which("redis-server"):
        print("user side: left out, not installed: pyarrow or redis\n")
        return
    print("user side, ring to disk, beside redis GET: CPU time of the recorder in its median second")
    for more in ([], ["--no-payload"]):
        capture = os.path.join(work, "user-side.kndl")
        run([os.path.join(bin_dir, "kindling-record"), *more, "-o", capture, "--",
             "bash", os.path.join(work, "server.sh"), str(2 * REQUESTS)])
        seconds = []
        with zipfile.ZipFile(capture) as archive:
            for name in archive.namelist():
                if name.endswith("/overhead.parquet"):
                    seconds += pyarrow.parquet.read_table(io.BytesIO(archive.read(name))).to_pylist()
        # Programs are loaded in the first, and the last is not whole.
        seconds = seconds[1:-1]
        if not seconds:
            print("  too short for a whole second")
            continue
        median = lambda of: statistics.median(of(second) for second in seconds)
        name = " ".join(["kindling-record", *more])
        print(
            f"  {name:<32} {median(lambda s: s['cpu_ns'] / max(1, s['records'])):9.1f} ns/event"
            f"  {median(lambda s: s['records'] / s['dur'] * 1e3):6.2f} M events/s"
            f"  {max(second['rss_bytes'] for second in seconds) >> 20:5} MiB"
        )
    print()


def storms(bin_dir, work, storm):
    """Whether anything is lost while every CPU does nothing but syscalls."""
    cpus = os.cpu_count() or 1
    calls = 15 * CALLS
    capture = os.path.join(work, "storms.kndl")
    script = f"for n in {' '.join(map(str, range(cpus)))}; do {storm} {calls} >/dev/null & done; wait"
    command = [os.path.join(bin_dir, "kindling-record"), "--no-payload", "-o", capture, "--", "bash", "-c", script]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    print(f"getppid, {cpus} programs, {calls} calls each\n  {done.stderr.strip().splitlines()[-1].replace(work, '')}\n")


def web(work):
    place = os.path.join(work, "web")
    for part in ("logs", "tmp", "www"):
        os.makedirs(os.path.join(place, part))
    with open(os.path.join(place, "www", "index.txt"), "w") as out:
        out.write("x" * 4096)
    with open("samples/demo/nginx.conf") as conf, open(os.path.join(place, "nginx.conf"), "w") as out:
        out.write(conf.read().replace("@PORT@", HTTP_PORT))
    return {"WEB": place}


def postgres(work):
    """Makes a database for pgbench; the environment for its script, or why there is none."""
    root = "/usr/lib/postgresql"
    versions = sorted(os.listdir(root)) if os.path.isdir(root) else []
    if not versions or not shutil.which("setpriv"):
        return None, "not installed: postgresql"
    data, bin_dir = os.path.join(work, "postgres"), os.path.join(root, versions[-1], "bin")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    os.chmod(work, 0o755)
    os.mkdir(data)
    shutil.chown(data, "postgres", "postgres")
    env = {"AS_POSTGRES": " ".join(user), "PG_BIN": bin_dir, "PG_DATA": data}
    made = subprocess.run([*user, f"{bin_dir}/initdb", "-D", data, "-A", "trust"], capture_output=True)
    at = ["-h", data, "-p", POSTGRES_PORT]
    options = f"-p {POSTGRES_PORT} -k {data} -c listen_addresses="
    steps = [
        [f"{bin_dir}/pg_ctl", "-D", data, "-o", options, "-l", f"{data}/log", "-w", "start"],
        [f"{bin_dir}/createdb", *at, "bench"],
        [f"{bin_dir}/pgbench", *at, "-i", "-q", "bench"],
        [f"{bin_dir}/pg_ctl", "-D", data, "-w", "stop"],
    ]
    for step in steps:
        if made.returncode == 0:
            made = subprocess.run([*user, *step], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return (env, None) if made.returncode == 0 else (None, made.stderr.decode().strip())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bin_dir, work = sys.argv[1:]
    os.environ["PATH"] += ":/usr/sbin"
    recorders = Recorders(bin_dir, work)
    storm = os.path.join(work, "storm")
    source = "kindling-record/tests/ground_truth/storm.c"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-pthread", "-o", storm, source], check=True)
    loop(recorders, storm, "getppid", [])
    loop(recorders, storm, "read of 1 byte", ["read"])
    server(recorders, f"redis GET, {REQUESTS} requests, 50 connections", REDIS, ["redis-server", "redis-benchmark"])
    user_side(bin_dir, work)
    storms(bin_dir, work, storm)
    server(recorders, f"nginx under wrk, {SECONDS} s, 16 connections", NGINX, ["nginx", "wrk"], web(work))
    env, why = postgres(work)
    if env:
        server(recorders, f"pgbench select-only, {SECONDS} s, 4 clients", POSTGRES, [], env)
    else:
        print(f"pgbench: left out, {why}\n")


if __name__ == "__main__":
    main()
