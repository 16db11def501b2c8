"""How ratios went from run to run: a plot of the runs that `python -m benchmarks --store FILE` kept."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 9.0, 0.22
"""Inches: of the plot, and per workload of its legend."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a plot."""
    parser.add_argument("file", type=Path, help="the history: one run a line")
    parser.add_argument("--only", default="", help="workloads whose names contain one of these texts, divided by commas")
    parser.add_argument("--against", default="torch", help="the library whose time is divided by ours")
    parser.add_argument("--plot", type=Path, metavar="IMAGE", help="where to draw it (needs matplotlib)")


def main(options: argparse.Namespace) -> None:
    """Print the first and the last ratio of every workload, and draw all of them."""
    runs = [json.loads(line) for line in options.file.read_text().splitlines()]
    lines = ratios(runs, options.against)
    lines = {name: points for name, points in lines.items() if any(text in name for text in options.only.split(","))}
    for name, points in lines.items():
        first, last = points[0], points[-1]
        print(f"{name:40} {len(points):3} runs  {first[1]:6.2f} ({first[0]})  ->  {last[1]:6.2f} ({last[0]})")
    if options.plot is not None:
        _draw(lines, [run["commit"] for run in runs], options)


def ratios(runs: list[dict[str, Any]], against: str) -> dict[str, list[tuple[str, float]]]:
    """Per workload: the commits of the runs that have it, and the medians' ratio."""
    found: dict[str, list[tuple[str, float]]] = {}
    for run in runs:
        for row in run["rows"]:
            theirs = row["seconds"].get(against)
            if theirs is not None:
                found.setdefault(row["name"], []).append((run["commit"], theirs["median"] / row["ours"]["median"]))
    return found


def _draw(lines: dict[str, list[tuple[str, float]]], commits: list[str], options: argparse.Namespace) -> None:
    from matplotlib import pyplot

    order = list(dict.fromkeys(commits))
    figure, axes = pyplot.subplots(figsize=(WIDTH, max(4.0, HEIGHT * len(lines))))
    for name, points in lines.items():
        axes.plot([order.index(commit) for commit, _ in points], [ratio for _, ratio in points], "o-", label=name)
    axes.set_xticks(range(len(order)), order, rotation=45)
    axes.set_yscale("log")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel(f"time of {options.against} / ours")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="x-small")
    figure.savefig(options.plot, bbox_inches="tight")
