#!/usr/bin/env python3
"""Damages captures and holds every command of kindling-replay to its promise: an answer or a one-line
error, exit code 0, 1 or 3, no panic, no endless run.

Half of the cases damage the file as it is, which checksums must notice. The other half damage the
content of a member and give it a right checksum, so that the decoders behind get to see it.

A case is a function of its number: `fuzz.py --first 1234 --cases 1` repeats number 1234.
"""

import argparse
import glob
import io
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = [
    ["info"],
    ["check"],
    ["events"],
    ["threads"],
    ["threads", "--format", "svg"],
    ["flame"],
    ["flows"],
    ["rpcs"],
    ["rpc", "slowest"],
    ["syscalls"],
    ["files"],
    ["processes"],
    ["logs"],
    ["thread", "busiest"],
    ["threads", "--where", "dur > 1ms or payload.size > 100"],
    ["cut", "--from", "10ms", "--to", "300ms", "-o", "-"],
    ["salvage", "-o", "-"],
    ["compact", "-o", "-"],
]
TIMEOUT_S = 60


def damage(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, a piece cut, doubled or overwritten by another."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            width = rng.choice([2, 4, 8])
            value = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])
            data[at : at + width] = (value % 256**width).to_bytes(width, "little")
        elif kind == 3:
            del data[at : at + rng.randrange(1, 1 + min(4096, len(data) - at))]
        elif kind == 4:
            piece = data[at : at + rng.randrange(1, 257)]
            data[at:at] = piece
        else:
            source = rng.randrange(len(data))
            length = rng.randrange(1, 257)
            data[at : at + length] = data[source : source + length]
    return bytes(data)


def damage_member(data: bytes, rng: random.Random) -> bytes:
    """The archive with one member damaged and its checksum right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except zipfile.BadZipFile:  # an unfinished capture
        return damage(data, rng)
    victim = rng.randrange(len(members))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for index, (name, content) in enumerate(members):
            archive.writestr(name, damage(content, rng) if index == victim else content)
    return out.getvalue()


def run(replay: str, command: list[str], path: str) -> str | None:
    """What is wrong with the program's answer; None if nothing is."""
    argv = [replay, command[0], path, *command[1:]]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return f"still running after {TIMEOUT_S} s"
    stderr = done.stderr.decode(errors="replace")
    if done.returncode not in (0, 1, 3):
        return f"exit code {done.returncode}\n{stderr}"
    if "panicked" in stderr:
        return stderr
    if done.returncode == 1 and not stderr.strip():
        return "failed without a word"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, help="end after this time")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, help="end after so many cases")
    parser.add_argument("captures", nargs="*", help="default: samples/*.kndl")
    args = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    replay = os.path.join(target, "release", "kindling-replay")
    paths = args.captures or sorted(glob.glob(os.path.join(ROOT, "samples", "*.kndl")))
    if not paths:
        print("fuzz: no captures in samples/", file=sys.stderr)
        return 1
    seeds = [open(path, "rb").read() for path in paths]
    begun, failures, case = time.monotonic(), 0, args.first
    with tempfile.TemporaryDirectory() as folder:
        victim = os.path.join(folder, "damaged.kndl")
        while (args.cases is None or case < args.first + args.cases) and (
            args.seconds is None or time.monotonic() - begun < args.seconds
        ):
            rng = random.Random(case)
            which = rng.randrange(len(seeds))
            data = rng.choice([damage, damage_member])(seeds[which], rng)
            command = COMMANDS[case % len(COMMANDS)]
            with open(victim, "wb") as file:
                file.write(data)
            wrong = run(replay, command, victim)
            if wrong:
                failures += 1
                kept = os.path.join(target, f"fuzz-{case}.kndl")
                with open(kept, "wb") as file:
                    file.write(data)
                print(f"case {case}: {' '.join(command)} {kept}: {wrong}", file=sys.stderr)
            case += 1
    print(f"fuzz: {case - args.first} cases of {len(seeds)} captures, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
