"""Random programs give the same bits on the host and, compiled for every architecture, on the emulator."""

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import Emulator
from tests.gpu.nvptx import compile_ptx, run_on_host
from tests.gpu.ptxas import ARCHITECTURES
from tests.gpu.random_ir import RandomControlFlow, RandomProgram

THREADS = 128


def same_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    equal = one.view(f"u{one.itemsize}") == other.view(f"u{one.itemsize}")
    return equal | (np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else equal


def compare(program: RandomProgram | RandomControlFlow, inputs: list[np.ndarray], architecture: str) -> None:
    """Run a program on both, with one thread for each row."""
    expected = [np.zeros_like(array) for array in inputs]
    run_on_host(program.host(), "k", [*expected, *inputs], THREADS)
    device = Emulator(1 << 20)
    sources = [device.allocate(array.nbytes) for array in inputs]
    results = [device.allocate(array.nbytes) for array in inputs]
    for address, array in zip(sources, inputs, strict=True):
        device.write(address, array)
    device.load(compile_ptx(program.kernel(), architecture)).kernel("k").launch((1,), (THREADS,), [*results, *sources])
    for address, array in zip(results, expected, strict=True):
        found = device.read(address, array.nbytes).view(array.dtype)
        wrong = np.flatnonzero(~same_bits(found, array))
        assert not wrong.size, f"{array.dtype} [{wrong[0]}]: host {array[wrong[0]]!r}, emulator {found[wrong[0]]!r}"


@pytest.mark.parametrize("seed", range(16))
def test_random_programs_give_the_bits_of_the_host(seed):
    program = RandomProgram(seed)
    compare(program, program.inputs(seed, THREADS), ARCHITECTURES[seed % 4])


@pytest.mark.parametrize("seed", range(8))
def test_random_branches_and_loops_give_the_numbers_of_the_host(seed):
    program = RandomControlFlow(seed)
    rng = np.random.default_rng(seed)
    compare(program, [rng.integers(-100, 100, THREADS * program.VARIABLES).astype("i4")], ARCHITECTURES[seed % 4])
