"""The engine compiles text for any target and loads it here; counters tell what it did."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading

import pytest

from lazytorch.codegen.target import host_target, target_named
from lazytorch.errors import CompileError
from lazytorch.runtime.engine import engine
from lazytorch.runtime.statistics import STATISTICS, Statistics

TRIPLE = """define i64 @triple(i64 %x) {
  %y = mul i64 %x, 3
  ret i64 %y
}
"""


def called(address: int, argument: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(argument))


def test_code_runs_until_it_is_closed() -> None:
    before = STATISTICS.stats()
    code = engine().load(engine().compile(TRIPLE, host_target()), ["triple"])
    again = engine().load(engine().compile(TRIPLE, host_target()), ["triple"])
    assert code["triple"] != again["triple"], "libraries do not see each other's symbols"
    assert called(code["triple"], 14) == 42
    code.close()
    code.close()
    assert code.closed
    assert called(again["triple"], 14) == 42
    del again
    after = STATISTICS.stats()
    changes = {name: after[name] - before[name] for name in ("modules_compiled", "objects_loaded", "objects_unloaded")}
    assert changes == {"modules_compiled": 2, "objects_loaded": 2, "objects_unloaded": 2}


def test_a_parse_error_shows_the_numbered_lines_around_it() -> None:
    with pytest.raises(CompileError) as raised:
        engine().compile(TRIPLE.replace("mul", "mull"), host_target())
    text = str(raised.value)
    assert "expected instruction opcode" in text
    assert ">    2 |   %y = mull i64 %x, 3" in text
    assert "     3 |   ret i64 %y" in text


def test_a_module_that_breaks_llvms_rules_is_refused() -> None:
    with pytest.raises(CompileError, match="dominate"):
        engine().compile("define i32 @f() {\n %a = add i32 %b, 1\n %b = add i32 1, 1\n ret i32 %b\n}", host_target())


def test_what_cannot_be_loaded_is_refused() -> None:
    code = engine().compile(TRIPLE, host_target())
    with pytest.raises(CompileError, match="nothing_of_the_kind"):
        engine().load(code, ["nothing_of_the_kind"])
    with pytest.raises(CompileError, match="object file"):
        engine().load(b"no object file", ["triple"])
    foreign = "aarch64" if host_target().is_x86 else "x86-64-v3"
    with pytest.raises(CompileError, match="cannot be loaded"):
        engine().load(engine().compile(TRIPLE, target_named(foreign)), ["triple"])


def test_code_may_call_symbols_that_were_defined() -> None:
    triple = engine().load(engine().compile(TRIPLE, host_target()), ["triple"])
    triple.pin()
    engine().define_symbol("lt_test_triple", triple["triple"])
    text = """declare i64 @lt_test_triple(i64)
define i64 @nine(i64 %x) {
  %y = call i64 @lt_test_triple(i64 %x)
  %z = call i64 @lt_test_triple(i64 %y)
  ret i64 %z
}
"""
    nine = engine().load(engine().compile(text, host_target()), ["nine"])
    assert called(nine["nine"], 2) == 18


def test_the_target_decides_the_instructions() -> None:
    text = """define void @k(ptr %p) {
  %v = load <16 x float>, ptr %p, align 4
  %w = fadd <16 x float> %v, %v
  store <16 x float> %w, ptr %p, align 4
  ret void
}
"""
    assembly = {name: engine().assembly(text, target_named(name)) for name in ("x86-64-v3", "x86-64-v4", "aarch64")}
    assert "zmm" in assembly["x86-64-v4"]
    assert "zmm" not in assembly["x86-64-v3"]
    assert "ymm" in assembly["x86-64-v3"]
    assert ".4s" in assembly["aarch64"]


def test_threads_may_compile_at_the_same_time() -> None:
    results: list[int] = []

    def work(factor: int) -> None:
        text = TRIPLE.replace("3", str(factor))
        for _ in range(5):
            code = engine().load(engine().compile(text, host_target()), ["triple"])
            results.append(called(code["triple"], 10) // factor)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (2, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [10] * 15


def test_the_interpreter_ends_cleanly_with_workers_alive() -> None:
    program = """
import ctypes
from lazytorch.config import config
from lazytorch.runtime.thread_pool import thread_pool
config.num_threads = 4
kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(lambda *arguments: None)
thread_pool().parallel(ctypes.cast(kernel, ctypes.c_void_p).value, 0, 8)
assert thread_pool().worker_count == 3
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_counters_are_copied_and_reset() -> None:
    statistics = Statistics()
    statistics.syncs += 2
    copy = statistics.stats()
    assert copy["syncs"] == 2
    assert set(copy.values()) == {0, 2}
    statistics.reset()
    assert set(statistics.stats().values()) == {0}
    assert copy["syncs"] == 2
