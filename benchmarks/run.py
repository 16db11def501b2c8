"""Every workload with every library in one session: ratios, the share of what the machine can do, compile times, memory."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import contractions, operations, roofline, steps
from benchmarks.memory import peak_bytes
from benchmarks.timing import Timing, interleaved
from benchmarks.workload import AGAINST, Workload, contestants, missing
from lazytorch.runtime.pieces import SIGHTS

WORKLOADS: dict[str, Workload] = {**contractions.WORKLOADS, **operations.WORKLOADS, **steps.WORKLOADS}
OURS = ("lazytorch", "captured")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a run."""
    parser.add_argument("--only", default="", help="workloads whose names contain one of these texts, divided by commas")
    parser.add_argument("--against", default="torch", help=f"libraries, divided by commas: {', '.join(AGAINST)}")
    parser.add_argument("--threads", type=int, default=1, help="of every library (default: 1, timed by its own clock)")
    parser.add_argument("--rounds", type=int, default=9, help="of every workload, in which each library has its turn")
    parser.add_argument("--cold", action="store_true", help="with an empty kernel cache: first calls show compile times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    parser.add_argument("--store", type=Path, metavar="FILE", help="add it to a history, one run a line")
    parser.add_argument("--list", action="store_true", help="print the workloads' names")


def main(options: argparse.Namespace) -> None:
    """Measure, print a line per workload, and write what is asked for."""
    names = [name for name in WORKLOADS if any(text in name for text in options.only.split(","))]
    if options.list:
        print("\n".join(names))
        return
    against = []
    for name in filter(None, options.against.split(",")):
        if name not in AGAINST:
            raise SystemExit(f"benchmarks: there is no {name!r} to compare with, but {', '.join(AGAINST)}")
        reason = missing(name)
        print(f"without {name}: {reason}") if reason else against.append(name)
    with tempfile.TemporaryDirectory() as folder:
        report = _measured(names, tuple(against), options, folder if options.cold else "")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.store is not None:
        with options.store.open("a") as history:
            history.write(json.dumps(report) + "\n")


def _measured(names: list[str], against: tuple[str, ...], options: argparse.Namespace, cache: str) -> dict[str, Any]:
    import lazytorch
    from lazytorch.config import config

    with config(**({"cache_dir": cache} if cache else {})):
        lazytorch.set_num_threads(options.threads)
        if {"torch", "inductor"} & {*against}:
            import torch

            torch.set_num_threads(options.threads)
        machine = _machine(options.threads)
        print(
            f"{machine['cpu']}, {options.threads} threads: {machine['fma'] / 1e9:.0f} GF/s of fma, "
            f"memory read at {machine['read'] / 1e9:.0f} GB/s, copied at {machine['copy'] / 1e9:.0f} GB/s"
        )
        columns = "".join(f" {f'/{name}':>16}" for name in against)
        print(f"{'':30} {'call':>10} {'native':>10} {'first call':>11} {'roofline':>9}{columns}  (median)")
        rows = []
        for name in names:
            for row in _rows(name, against, options):
                rows.append(row)
                print(_line(row, against), flush=True)
    when, commit = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), _commit()
    return {"date": when, "commit": commit, "threads": options.threads, "machine": machine, "rows": rows}


def _rows(name: str, against: tuple[str, ...], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The workload's row; of a training step also that of the captured step."""
    workload = WORKLOADS[name]
    # A long graph is run in pieces at first, and planned as a whole when it has come often enough.
    warm = dict.fromkeys(OURS, SIGHTS + 2)
    times = interleaved(contestants(workload, against), options.rounds, options.threads, warm=warm)
    memory: dict[str, int] = {}
    if workload.is_training and "torch" in against:
        memory = {library: peak_bytes(library, name, options.threads) for library in ("lazytorch", "torch")}
    for ours in OURS:
        if ours in times:
            yield {
                "name": name if ours == "lazytorch" else f"{name}, {ours}",
                "seconds": {library: vars(time) for library, time in times.items() if library not in OURS},
                "ours": vars(times[ours]),
                "roofline": _share(workload, times[ours], options.threads),
                "peak_bytes": memory if ours == "lazytorch" else {},
            }


def _share(workload: Workload, ours: Timing, threads: int) -> float | None:
    """The time that the machine needs at least, divided by that of our native code; None where a workload does not say."""
    least = workload.flops / roofline.fma_peak(threads)
    if workload.bytes:
        least = max(
            least, workload.bytes / roofline.bandwidth(int(workload.bytes), threads, writing=len(workload.shapes) > 1)
        )
    return least / ours.native if least and ours.native else None


def _line(row: dict[str, Any], against: tuple[str, ...]) -> str:
    ours, share = row["ours"], row["roofline"]
    text = f"{row['name']:30} {_time(ours['best'])} {_time(ours['native'])} {ours['first'] * 1e3:8.1f} ms "
    text += f"{share:9.0%}" if share else f"{'':9}"
    for library in against:
        theirs = row["seconds"].get(library)
        text += (
            f" {theirs['best'] / ours['best']:7.2f} ({theirs['median'] / ours['median']:5.2f})" if theirs else f"{'-':>16}"
        )
    if row["peak_bytes"]:
        mine, theirs = row["peak_bytes"]["lazytorch"], row["peak_bytes"]["torch"]
        text += f"  peak memory {mine / 2**20:.0f} MiB, {mine / max(theirs, 1):.2f} of torch's"
    return text


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:7.1f} us" if seconds < 0.1 else f"{seconds * 1e3:7.1f} ms"


def _machine(threads: int) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    beyond = roofline.LARGEST
    return {
        "cpu": model,
        "fma": roofline.fma_peak(threads),
        "read": roofline.bandwidth(beyond, threads),
        "copy": roofline.bandwidth(beyond, threads, writing=True),
    }


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()
