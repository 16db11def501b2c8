"""A program is a table of steps: pointers are patched, errors stop it, Python functions may be steps."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lazytorch.config import config
from lazytorch.errors import VerificationError
from lazytorch.runtime.engine import LoadedCode
from lazytorch.runtime.runner import (
    HOST_EXCEPTION,
    STATUS,
    BindingAddress,
    Failure,
    HostFunction,
    NativeProgram,
    Patch,
    Step,
)
from lazytorch.runtime.statistics import STATISTICS


def test_steps_run_in_order_with_their_slots_patched(kernels: LoadedCode) -> None:
    values = np.zeros(4, np.int64)
    constant = np.zeros(2, np.int64)
    program = NativeProgram(
        [
            Step(kernels["add"], [0, 5], [Patch(0, 0, 8)]),
            Step(kernels["add"], [0, 0], [Patch(0, 0, 16), Patch(1, 1)]),
            Step(kernels["add"], [0, -7], [Patch(0, 2, 8)], chunks=3),
        ],
        formats="Qq",
        constants=[constant.ctypes.data],
        keep=[kernels, constant],
    )
    assert program.run(values.ctypes.data, 30) == 0
    assert program.run(values.ctypes.data, -1) == 0
    assert values.tolist() == [0, 10, 29, 0]
    assert constant.tolist() == [0, -42]
    assert program.failure is None


def test_every_run_binds_its_own_memory(kernels: LoadedCode) -> None:
    program = NativeProgram([Step(kernels["add"], [0, 1], [Patch(0, 0)])], "Q", keep=[kernels])
    arrays = [np.zeros(1, np.int64) for _ in range(5)]
    for array in arrays:
        program.run(array.ctypes.data)
    assert [int(array[0]) for array in arrays] == [1] * 5


def test_scalars_are_bindings_by_value_or_by_address(kernels: LoadedCode) -> None:
    double, single = np.array([1.0]), np.zeros(1, np.float32)
    program = NativeProgram(
        [
            Step(kernels["add_double"], [0, BindingAddress(2)], [Patch(0, 0)]),
            Step(kernels["store_float"], [0, 0], [Patch(0, 1), Patch(1, 3)]),
        ],
        formats="QQdf",
        keep=[kernels],
    )
    program.run(double.ctypes.data, single.ctypes.data, 0.25, -1.5)
    assert double[0] == 1.25
    assert single[0] == -1.5


def test_a_failing_step_stops_the_program_and_says_why(kernels: LoadedCode) -> None:
    value = np.zeros(1, np.int64)
    program = NativeProgram(
        [
            Step(kernels["add"], [0, 1], [Patch(0, 0)]),
            Step(kernels["fail"], [STATUS, 0], [Patch(1, 1)], chunks=16),
            Step(kernels["add"], [0, 100], [Patch(0, 0)]),
        ],
        formats="Qq",
        keep=[kernels],
    )
    assert program.run(value.ctypes.data, 11) == 2
    assert program.failure == Failure(step=1, code=3, first=11, second=-4)
    assert value[0] == 1
    assert program.run(value.ctypes.data, 99) == 0, "an earlier failure must not stick"
    assert value[0] == 102


def test_a_timed_run_tells_each_step_up_to_the_failing_one(kernels: LoadedCode) -> None:
    steps = [Step(kernels["fail"], [STATUS, 0], [Patch(1, 0)], chunks=number) for number in (2, 4, 8)]
    program = NativeProgram(steps, "q", keep=[kernels])
    failed, times = program.run_timed(3)
    assert failed == 2
    assert len(times) == 2
    assert all(nanoseconds >= 0 for nanoseconds in times)
    assert len(program.run_timed(-1)[1]) == 3


def test_a_python_function_is_a_step_like_any_other(kernels: LoadedCode) -> None:
    values = np.zeros(2, np.int64)

    def double(slots: Any) -> None:
        assert slots[0] == values.ctypes.data
        values[1] = 2 * values[0] + slots[1]

    program = NativeProgram(
        [
            Step(kernels["add"], [0, 21], [Patch(0, 0)]),
            Step(HostFunction(double), [0, 1000], [Patch(0, 0)]),
            Step(kernels["add"], [0, 1], [Patch(0, 0)]),
        ],
        formats="Q",
        keep=[kernels],
    )
    assert program.run(values.ctypes.data) == 0
    assert values.tolist() == [22, 1042]


@pytest.mark.parametrize("error", [KeyError("missing"), KeyboardInterrupt()])
def test_an_exception_of_a_python_step_comes_out_of_run(kernels: LoadedCode, error: BaseException) -> None:
    value = np.zeros(1, np.int64)
    armed = True

    def explode(slots: object) -> None:
        if armed:
            raise error

    program = NativeProgram([Step(HostFunction(explode)), Step(kernels["add"], [0, 1], [Patch(0, 0)])], "Q", keep=[kernels])
    with pytest.raises(type(error)) as raised:
        program.run(value.ctypes.data)
    assert raised.value is error
    assert program.failure == Failure(0, HOST_EXCEPTION, 0, 0)
    assert value[0] == 0
    armed = False
    assert program.run(value.ctypes.data) == 0


def test_a_python_step_may_run_the_program_it_belongs_to(kernels: LoadedCode) -> None:
    value = np.zeros(1, np.int64)
    depth = 0

    def recurse(slots: object) -> None:
        nonlocal depth
        depth += 1
        if depth < 4:
            program.run(value.ctypes.data)

    program = NativeProgram([Step(HostFunction(recurse)), Step(kernels["add"], [0, 1], [Patch(0, 0)])], "Q", keep=[kernels])
    program.run(value.ctypes.data)
    assert value[0] == 4


def test_threads_may_run_one_program_at_the_same_time(kernels: LoadedCode) -> None:
    """Each thread binds its own memory; both are inside the program when the second one starts."""
    meeting = threading.Barrier(2, timeout=60)
    program = NativeProgram(
        [
            Step(HostFunction(lambda slots: meeting.wait())),
            *[Step(kernels["add"], [0, 1], [Patch(0, 0)], chunks=2) for _ in range(20)],
        ],
        formats="Q",
        keep=[kernels],
    )
    values = np.zeros(2, np.int64)

    def work(position: int) -> None:
        for _ in range(20):
            program.run(values.ctypes.data + 8 * position)

    with config(num_threads=2):
        threads = [threading.Thread(target=work, args=(position,)) for position in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert values.tolist() == [20 * 20 * 2] * 2


def test_a_child_forked_while_a_program_runs_can_run_it(kernels: LoadedCode) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(slots: object) -> None:
        inside.set()
        go_on.wait(60)

    program = NativeProgram(
        [Step(HostFunction(hold)), Step(kernels["add"], [0, 1], [Patch(0, 0)], chunks=4)], "Q", keep=[kernels]
    )
    value = np.zeros(1, np.int64)
    thread = threading.Thread(target=program.run, args=(value.ctypes.data,))
    thread.start()
    inside.wait(60)
    child = os.fork()
    go_on.set()
    if child == 0:
        mine = np.zeros(1, np.int64)
        os._exit(0 if program.run(mine.ctypes.data) == 0 and mine[0] == 4 else 1)
    _, status = os.waitpid(child, 0)
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert value[0] == 4


def test_runs_and_steps_are_counted(kernels: LoadedCode) -> None:
    value = np.zeros(1, np.int64)
    program = NativeProgram([Step(kernels["add"], [0, 1], [Patch(0, 0)])] * 3, "Q", keep=[kernels])
    before = STATISTICS.stats()
    program.run(value.ctypes.data)
    after = STATISTICS.stats()
    assert after["native_calls"] - before["native_calls"] == 1
    assert after["kernels_run"] - before["kernels_run"] == 3


def test_a_program_without_steps_does_nothing() -> None:
    assert NativeProgram([]).run() == 0
    assert NativeProgram([]).run_timed() == (0, [])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda address: Step(address, [0], [Patch(1, 0)]), "a patch writes slot 1 of 1"),
        (lambda address: Step(address, [0], [Patch(0, 2)]), "there is no binding 2"),
        (lambda address: Step(address, [0], [Patch(0, -1)]), "there is no binding -1"),
        (lambda address: Step(address, [0], [Patch(0, 1, 8)]), "binding 1 is a float"),
        (lambda address: Step(address, [BindingAddress(2)]), "there is no binding 2"),
        (lambda address: Step(address, chunks=0), "chunks"),
        (lambda address: Step(0), "not the address of a function"),
        (lambda address: Step(HostFunction(print), chunks=2), "one chunk"),
    ],
)
def test_a_wrong_table_is_refused(kernels: LoadedCode, step: Callable[[int], Step], message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        NativeProgram([step(kernels["add"])], "Qd")


def test_wrong_bindings_are_refused(kernels: LoadedCode) -> None:
    with pytest.raises(ValueError, match="formats"):
        NativeProgram([], "x")
    program = NativeProgram([Step(kernels["add"], [0, 1], [Patch(0, 0)])], "Q", keep=[kernels])
    with pytest.raises(struct.error):
        program.run()
    with pytest.raises(struct.error):
        program.run(1.5)
