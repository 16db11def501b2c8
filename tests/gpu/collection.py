"""`pytest --device cuda --ptx FOLDER` keeps the PTX of every kernel that the tests run, for each architecture;
`python -m tests.gpu.collection FOLDER` has NVIDIA's assembler judge it all: what is refused, what spills."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gpu.ptxas import ARCHITECTURES, AssemblyError, assemble

_TOGETHER = 40
"""Kernels of one run of the assembler."""
_HEADER = re.compile(r"^\.(version|target|address_size)\b.*$", re.MULTILINE)


def install(folder: Path) -> None:
    """Keep the PTX from now on."""
    from lazytorch.codegen.gpu_target import GpuTarget, gpu_target
    from lazytorch.codegen.launch import ScheduleContext
    from lazytorch.runtime import planner
    from lazytorch.runtime.engine import engine
    from lazytorch.runtime.kernels import kernel_text

    plain = planner.schedule
    seen: set[tuple[str, str]] = set()

    def schedule(operation: Any, context: ScheduleContext) -> Any:
        launches = plain(operation, context)
        if isinstance(context.target, GpuTarget):
            for architecture in ARCHITECTURES:
                target = gpu_target(architecture)
                for launch in plain(operation, ScheduleContext(target, 1, context.tf32)):
                    if launch.build is not None and (architecture, launch.key) not in seen:
                        seen.add((architecture, launch.key))
                        path = folder / architecture / f"{launch.symbol}.ptx"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_text(engine().ptx(kernel_text(launch, target), target))
        return launches

    planner.schedule = schedule  # type: ignore[assignment]


def judged(folder: Path, architecture: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the modules in a folder: file, and what the assembler says or how many bytes are spilled."""
    paths = sorted(folder.glob("*.ptx"))
    by_header: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in paths:
        by_header[tuple(found.group(0) for found in _HEADER.finditer(path.read_text()))].append(path)
    for header, members in by_header.items():
        for first in range(0, len(members), _TOGETHER):
            yield from _judged_together(header, members[first : first + _TOGETHER], architecture)


def _judged_together(header: tuple[str, ...], paths: list[Path], architecture: str) -> Iterator[tuple[str, str]]:
    text = "\n".join([*header, *[_HEADER.sub("", path.read_text()) for path in paths]])
    try:
        costs = assemble(text, architecture)
    except AssemblyError as error:
        if len(paths) == 1:
            yield str(paths[0]), str(error)
        else:
            for path in paths:
                yield from _judged_together(header, [path], architecture)
        return
    assert len(costs) >= len(paths), "fewer kernels than modules"
    yield from ((name, f"{cost.spill_bytes} bytes of spills") for name, cost in costs.items() if cost.spill_bytes)


def main(arguments: list[str]) -> int:
    """Judge a folder; how many modules there are of each architecture, and what is wrong."""
    wrong = 0
    for architecture in ARCHITECTURES:
        folder = Path(arguments[0]) / architecture
        count = len(list(folder.glob("*.ptx")))
        found = list(judged(folder, architecture))
        wrong += len(found)
        print(f"{architecture}: {count} modules, {len(found)} refused or with spills")
        for name, what in found:
            print(f"  {name}: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
