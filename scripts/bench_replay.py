#!/usr/bin/env python3
"""What analyses of a long capture cost, with one job and with one for each CPU, and what perf needs for
the like. `scripts/bench.sh` calls it; it prints and judges nothing.

usage: bench_replay.py BIN_DIR WORK_DIR REQUESTS
  perf gets a twentieth of the requests, because its reports take minutes on files of that length; rates
  per event are compared.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import bench_record

# What comes with a recording at the usual rate is read in a moment: `flame` is measured on many samples too, which
# come again and again, because so many take a quarter of an hour to record.
SAMPLE_HZ = "9999"
SAMPLED_SHARE = 3
MOST_SAMPLES = 20_000_000
COMMANDS = ["threads", "syscalls", "flame", "flame --off-cpu", "locks", "cpus", "files", "rpcs"]
PERF_SHARE = 20


def measure(command):
    """Runs a command; its wall time in s, CPU time in s and peak memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode:
        return None
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best(command, runs):
    results = [result for result in (measure(command) for _ in range(runs)) if result]
    return min(results, default=None)


def row(name, events, result, more=""):
    if result is None:
        print(f"  {name:<34} failed")
        return
    wall, cpu, memory = result
    print(
        f"  {name:<34} {wall:8.2f} s  {cpu:8.2f} s CPU  {events / wall / 1e6:6.2f} M events/s"
        f"  {memory:6.0f} MiB{more}"
    )


def recorded(record, replay, capture, options, workload):
    """Records a workload; how many rows each table has."""
    subprocess.run(
        [record, *options, "-o", capture, "--", *workload],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    answer = subprocess.run([replay, "info", capture, "--format", "json"], check=True, capture_output=True)
    tables = json.loads(answer.stdout)["info"]["tables"]
    return {table["table"]: table["rows"] for table in tables}


def analyze(replay, capture, events, commands, runs):
    most = os.cpu_count() or 1
    for command in commands:
        analysis = [replay, *command.split(), capture]
        single = best([*analysis, "--jobs", "1"], runs)
        row(f"{command} --jobs 1", events, single)
        if most > 1:
            parallel = best([*analysis, "--jobs", str(most)], runs)
            faster = single and parallel and f"  {single[0] / parallel[0]:.2f} x"
            row(f"{command} --jobs {most}", events, parallel, faster or "")


def ours(record, replay, work, workload, runs):
    capture = os.path.join(work, "replay.kndl")
    tables = recorded(record, replay, capture, [], workload)
    kinds = {"syscalls", "arguments", "payloads", "switches", "wakeups", "samples", "tcp"}
    events = sum(rows for table, rows in tables.items() if table in kinds)
    print(f"replay of {events} events, {os.path.getsize(capture)} bytes")
    analyze(replay, capture, events, COMMANDS, runs)


def sampled(record, replay, work, workload, runs):
    capture = os.path.join(work, "sampled.kndl")
    tables = recorded(record, replay, capture, ["--sample-hz", SAMPLE_HZ, "--no-payload"], workload)
    samples = tables.get("samples", 0)
    prolonged = os.path.join(work, "prolonged.kndl")
    times = MOST_SAMPLES // max(samples, 1) + 1
    prolong = os.path.join(os.path.dirname(replay), "examples", "prolong")
    subprocess.run([prolong, capture, str(times), prolonged], check=True)
    for path, count in ((capture, samples), (prolonged, samples * times)):
        print(f"replay of {count} samples, {os.path.getsize(path)} bytes")
        analyze(replay, path, count, ["flame"], runs)


def perf(work, workload):
    data = os.path.join(work, "perf.data")
    events = ["-e", "raw_syscalls:*,sched:sched_switch,sched:sched_waking", "-c", "1"]
    record = ["perf", "record", "-q", "-m", "16M", "-o", data, *events, "--", *workload]
    done = subprocess.run(record, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode:
        print("  perf record failed")
        return
    stats = subprocess.run(["perf", "report", "-i", data, "--stats"], capture_output=True, text=True)
    samples = [int(count) for count in re.findall(r"SAMPLE events: *(\d+)", stats.stdout)]
    # The first is the sum, those after it are of each kind.
    count = samples[0] if samples else 0
    print(f"perf on {count} events of the same workload, {os.path.getsize(data)} bytes")
    row("perf script", count, measure(["perf", "script", "-i", data]))
    row("perf sched timehist", count, measure(["perf", "sched", "timehist", "-i", data]))
    row("perf trace -i", count, measure(["perf", "trace", "-i", data]))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    bin_dir, work, requests = sys.argv[1:]
    record, replay = (os.path.join(bin_dir, name) for name in ("kindling-record", "kindling-replay"))
    script = os.path.join(work, "redis.sh")
    with open(script, "w") as out:
        out.write(bench_record.REDIS)
    ours(record, replay, work, ["bash", script, requests], bench_record.RUNS)
    fewer = str(int(requests) // SAMPLED_SHARE)
    sampled(record, replay, work, ["bash", script, fewer], bench_record.RUNS)
    if shutil.which("perf"):
        perf(work, ["bash", script, str(int(requests) // PERF_SHARE)])


main()
