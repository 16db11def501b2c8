"""Mistakes put into the PTX of kernels of our own: the emulator raises, or the numbers are wrong; none goes unseen."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.codegen.launch import grid_of
from lazytorch.runtime.cuda import planner
from lazytorch.runtime.cuda.device import devices
from lazytorch.runtime.ptx_emulator import DataRace, KernelFault, MisalignedAccess, OutOfBoundsAccess, UninitialisedRead
from tests.gpu.test_counters import forget

pytestmark = pytest.mark.usefixtures("emulated")
NUMBERS = np.random.default_rng(0).integers(-3, 4, (2, 40, 40)).astype("f4")
WRONG = None
"""No fault, but wrong numbers."""


def product(dtype: Any) -> Callable[[], torch.Tensor]:
    """A product that is exact in every type."""
    return lambda: (torch.tensor(NUMBERS[0]).to(dtype).cuda() @ torch.tensor(NUMBERS[1]).to(dtype).cuda()).float()


PROGRAMS: dict[str, tuple[Callable[[], torch.Tensor], np.ndarray]] = {
    "matrices": (product(torch.bfloat16), NUMBERS[0] @ NUMBERS[1]),
    "multiply-adds": (product(torch.float32), NUMBERS[0] @ NUMBERS[1]),
    "rows": (lambda: torch.tensor(NUMBERS[0]).cuda().sum(1), NUMBERS[0].sum(1)),
    "map": (lambda: torch.tensor(NUMBERS[0]).cuda() + 1, NUMBERS[0] + 1),
}

# program, what is changed (its occurrences: all, or the one of this number), into what, what comes of it
BUGS = [
    ("matrices", r"\tbar\.sync \t0;\n", 0, "", DataRace),
    ("matrices", r"\tbar\.sync \t0;\n", 1, "", DataRace),
    ("matrices", r"\tbar\.sync \t0;\n", 2, "", DataRace),
    ("matrices", r"\tbar\.warp\.sync \t-1;\n", 0, "", DataRace),
    ("matrices", r"cp\.async\.wait_group \t2", 0, "cp.async.wait_group \t3", UninitialisedRead),
    ("matrices", r"cp\.async\.wait_group \t\d", None, "cp.async.wait_group \t8", UninitialisedRead),
    ("matrices", r"\tcp\.async\.commit_group;\n", None, "", UninitialisedRead),
    ("matrices", r"(cp\.async\.cg\.shared\.global \s*\[%\w+\], \[%\w+)\]", 0, r"\1+4]", MisalignedAccess),
    ("matrices", r"(cp\.async\.cg\.shared\.global \s*\[%\w+)\]", 0, r"\1+49152]", OutOfBoundsAccess),
    ("matrices", r"(cp\.async\.cg\.shared\.global \s*\[%\w+)\]", 0, r"\1+16]", KernelFault),
    ("matrices", r"(cp\.async\.cg\.shared\.global [^\n]*), 16, %\w+;", None, r"\1, 16, 0;", WRONG),
    ("matrices", r"m8n8\.x4\.trans\.shared", None, "m8n8.x4.shared", WRONG),
    ("matrices", r"(ldmatrix[^\n]*\[%\w+)((?:\+\d+)?\];)", 0, r"\1+8\2", MisalignedAccess),
    ("matrices", r"(mma\.sync[^{]*\{[^}]*\},\s*\{)(%\w+), (%\w+)", 0, r"\1\3, \2", WRONG),
    ("matrices", r"(mma\.sync[^;]*;)", 0, r"", WRONG),
    ("matrices", r"(st\.shared\.v2\.b32 \t\[%\w+)((?:\+\d+)?\])", 0, r"\1+4\2", MisalignedAccess),
    ("multiply-adds", r"\tbar\.sync \t0;\n", 0, "", DataRace),
    ("multiply-adds", r"cp\.async\.wait_group \t0", 0, "cp.async.wait_group \t1", UninitialisedRead),
    ("multiply-adds", r"fma\.rn\.f32(x2)? \t(%\w+), (%\w+), (%\w+)", 0, r"fma.rn.f32\1 \t\2, \3, \3", WRONG),
    ("rows", r"(shfl\.sync\.bfly\.b32 \t%\w+, %\w+), 4,", None, r"\1, 2,", WRONG),
    ("rows", r"(st\.global\.b32 \t\[%\w+)\]", None, r"\1+1048576]", OutOfBoundsAccess),
    ("map", r"(st\.global\.v4\.b32 \t\[%\w+)\]", 0, r"\1+8]", MisalignedAccess),
    ("map", r"(st\.global\.v4\.b32 \t\[%\w+)\]", 0, r"\1+16]", KernelFault),
    ("map", r"(ld\.global\.nc\.v4\.b32 [^;]*\[%\w+)\]", 0, r"\1+16]", KernelFault),
]


def compiled_with(change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every kernel be compiled anew, and its PTX be changed."""
    compile_ = planner.kernel_ptx
    monkeypatch.setattr(planner, "kernel_ptx", lambda launch, target: change(compile_(launch, target)))
    monkeypatch.setattr(planner, "grid_of", lambda launch, *target: (1, grid_of(launch, *target)[1]))  # all tiles in turn
    monkeypatch.setattr(devices()[0], "_kernels", {})
    forget(monkeypatch)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_are_right_without_a_bug(name: str) -> None:
    program, wanted = PROGRAMS[name]
    np.testing.assert_array_equal(program().cpu().numpy(), wanted)


@pytest.mark.parametrize("name, pattern, number, replacement, outcome", BUGS)
def test_a_bug_is_seen(
    name: str, pattern: str, number: int | None, replacement: str, outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, wanted = PROGRAMS[name]
    changed = 0

    def change(ptx: str) -> str:
        nonlocal changed
        places = list(re.finditer(pattern, ptx))
        for place in reversed(places if number is None else places[number : number + 1]):
            ptx = ptx[: place.start()] + place.expand(replacement) + ptx[place.end() :]
            changed += 1
        return ptx

    compiled_with(change, monkeypatch)
    with nullcontext() if outcome is WRONG else pytest.raises(outcome):
        got = program().cpu().numpy()
        assert changed, "the kernel has no such instruction"
        assert outcome is WRONG and (got != wanted).any()
