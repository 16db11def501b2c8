"""Hand-written kernels for the tests of pool and runner."""

from __future__ import annotations

import pytest

from lazytorch.codegen.target import host_target
from lazytorch.runtime.engine import LoadedCode, engine
from lazytorch.runtime.runner import runner

_TEXT = """
declare void @lt_fail(ptr, i64, i64, i64)
declare void @lt_parallel(ptr, ptr, i64)

; slot 0: address of counters, one i32 for each chunk
define void @count(ptr %args, i64 %chunk, i64 %chunks) {
  %counters = load ptr, ptr %args
  %counter = getelementptr i32, ptr %counters, i64 %chunk
  %old = atomicrmw add ptr %counter, i32 1 monotonic
  ret void
}

; slot 0: as above. Each chunk opens a region of 8 chunks of its own on the same counters.
define void @nested(ptr %args, i64 %chunk, i64 %chunks) {
  call void @lt_parallel(ptr @count, ptr %args, i64 8)
  ret void
}

; slot 0: address of an i64, slot 1: what to add to it
define void @add(ptr %args, i64 %chunk, i64 %chunks) {
  %target = load ptr, ptr %args
  %amount_slot = getelementptr i64, ptr %args, i64 1
  %amount = load i64, ptr %amount_slot
  %old = atomicrmw add ptr %target, i64 %amount monotonic
  ret void
}

; slot 0: address of an f64, slot 1: address of an f64 to add to it
define void @add_double(ptr %args, i64 %chunk, i64 %chunks) {
  %target = load ptr, ptr %args
  %amount_slot = getelementptr i64, ptr %args, i64 1
  %amount_address = load ptr, ptr %amount_slot
  %amount = load double, ptr %amount_address
  %old = load double, ptr %target
  %sum = fadd double %old, %amount
  store double %sum, ptr %target
  ret void
}

; slot 0: address of an f32, slot 1: an f32 in the low four bytes
define void @store_float(ptr %args, i64 %chunk, i64 %chunks) {
  %target = load ptr, ptr %args
  %value_slot = getelementptr i64, ptr %args, i64 1
  %value = load float, ptr %value_slot
  store float %value, ptr %target
  ret void
}

; slot 0: status, slot 1: chunk that fails
define void @fail(ptr %args, i64 %chunk, i64 %chunks) {
  %status = load ptr, ptr %args
  %failing_slot = getelementptr i64, ptr %args, i64 1
  %failing = load i64, ptr %failing_slot
  %fails = icmp eq i64 %failing, %chunk
  br i1 %fails, label %failure, label %return
failure:
  call void @lt_fail(ptr %status, i64 3, i64 %chunk, i64 -4)
  br label %return
return:
  ret void
}
"""


@pytest.fixture(scope="session")
def kernels() -> LoadedCode:
    """The kernels above, loaded: `kernels["count"]` is an address."""
    runner()  # names lt_fail and lt_parallel
    symbols = ("count", "nested", "add", "add_double", "store_float", "fail")
    return engine().load(engine().compile(_TEXT, host_target()), symbols)
