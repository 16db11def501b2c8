"""The threads that run kernels: a pool whose threads claim chunks of a parallel region, written in LLVM IR.

A kernel is `void kernel(ptr arguments, i64 chunk, i64 chunks)`; `lt_parallel(kernel, arguments, chunks)` runs it once
for each chunk in 0 … chunks-1 and returns when all are done. A compare-and-swap on one word, generation << 32 | next
chunk, claims a chunk. The caller works too and never waits for a thread that has not started, so on a busy machine a
region costs what running it alone would. Which thread runs a chunk decides no result: what a chunk computes depends
on its number only.

* A region inside a region, or beside one of another Python thread, runs its chunks one after the other in its caller.
* After a fork the child has no workers and makes its own at its first region.
* Workers block all signals, so that Python's handlers run in threads that Python knows.
* A worker spins for a tenth of a millisecond before it sleeps on a futex: a wake-up costs ten times what a region does.

Python speaks to the pool through `thread_pool()`. Linux only (futex).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from string import Template

from lazytorch.codegen.target import Target, host_target
from lazytorch.config import config
from lazytorch.runtime.engine import engine
from lazytorch.runtime.thread_count import get_num_threads

MAX_CHUNKS = 2**31 - 1
"""Most chunks of one region."""

_SYMBOLS = ("lt_parallel", "lt_set_workers", "lt_worker_count", "lt_after_fork")


@dataclass(frozen=True)
class _Platform:
    """What differs between architectures: pause instruction, a clock user code may read, number of the futex call."""

    pause_declaration: str
    pause: str
    clock: str
    spin_ticks: int
    futex: int


_X86 = _Platform(
    "declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()", "llvm.readcyclecounter", 300_000, 202
)
# The cycle counter traps in user mode; the steady one runs at 25 MHz on older cores and at 1 GHz on newer ones.
_ARM = _Platform(
    "declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)", "llvm.readsteadycounter", 3_000, 98
)

_POOL = Template("""; generation << 32 | next chunk; next chunk is 4294967295 while no region is open
@state = internal global i64 4294967295, align 64
@done = internal global i64 0, align 64
@sleepers = internal global i32 0, align 64
@wake_sequence = internal global i32 0, align 64
@busy = internal global i32 0, align 64
@kernel = internal global ptr null
@arguments = internal global ptr null
@chunks = internal global i64 0
@workers = internal global i64 0
@wanted_workers = internal global i64 0

declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @$clock()
$pause_declaration

; Claim and run chunks of region %generation until none is left. The three words may already be a later region's, but
; then the region was closed before they were written, so the claim below fails.
define internal void @drain(i64 %generation) {
entry:
  %kernel = load atomic ptr, ptr @kernel acquire, align 8
  %arguments = load atomic ptr, ptr @arguments acquire, align 8
  %chunks = load atomic i64, ptr @chunks acquire, align 8
  br label %next
next:
  %state = load atomic i64, ptr @state acquire, align 8
  %current = lshr i64 %state, 32
  %same = icmp eq i64 %current, %generation
  %chunk = and i64 %state, 4294967295
  %left = icmp ult i64 %chunk, %chunks
  %claimable = and i1 %same, %left
  br i1 %claimable, label %claim, label %return
claim:
  %claimed = add i64 %state, 1
  %exchange = cmpxchg ptr @state, i64 %state, i64 %claimed acq_rel monotonic
  %won = extractvalue { i64, i1 } %exchange, 1
  br i1 %won, label %run, label %next
run:
  call void %kernel(ptr %arguments, i64 %chunk, i64 %chunks)
  atomicrmw add ptr @done, i64 1 release
  br label %next
return:
  ret void
}

; True when this worker has left the pool because fewer are wanted.
define internal i1 @retire() {
entry:
  br label %check
check:
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %wanted = load atomic i64, ptr @wanted_workers seq_cst, align 8
  %surplus = icmp ugt i64 %workers, %wanted
  br i1 %surplus, label %leave, label %stay
leave:
  %fewer = sub i64 %workers, 1
  %exchange = cmpxchg ptr @workers, i64 %workers, i64 %fewer seq_cst monotonic
  %won = extractvalue { i64, i1 } %exchange, 1
  br i1 %won, label %left, label %check
left:
  ret i1 true
stay:
  ret i1 false
}

define internal ptr @worker(ptr %born) {
entry:
  %first = ptrtoint ptr %born to i64
  br label %watch
watch:
  %last = phi i64 [ %first, %entry ], [ %generation, %work ], [ %last, %awake ]
  %start = call i64 @$clock()
  br label %spin
spin:
  %state = load atomic i64, ptr @state acquire, align 8
  %generation = lshr i64 %state, 32
  %opened = icmp ne i64 %generation, %last
  br i1 %opened, label %found, label %pause
pause:
  $pause
  %now = call i64 @$clock()
  %waited = sub i64 %now, %start
  %patient = icmp ult i64 %waited, $spin_ticks
  br i1 %patient, label %spin, label %sleep
sleep:
  %sequence = load atomic i32, ptr @wake_sequence seq_cst, align 4
  atomicrmw add ptr @sleepers, i32 1 seq_cst
  %state_now = load atomic i64, ptr @state seq_cst, align 8
  %generation_now = lshr i64 %state_now, 32
  %missed = icmp ne i64 %generation_now, %last
  br i1 %missed, label %wake, label %wait
wait:
  %woken = call i64 (i64, ...) @syscall(i64 $futex, ptr @wake_sequence, i32 128, i32 %sequence, ptr null)
  br label %wake
wake:
  atomicrmw sub ptr @sleepers, i32 1 seq_cst
  %retired_asleep = call i1 @retire()
  br i1 %retired_asleep, label %exit, label %awake
awake:
  br label %watch
found:
  %retired = call i1 @retire()
  br i1 %retired, label %exit, label %work
work:
  call void @drain(i64 %generation)
  br label %watch
exit:
  ret ptr null
}

; Called with @busy taken: make threads until there are %count, or as many as the system gives.
define internal void @hire(i64 %count) noinline cold {
entry:
  %thread = alloca i64
  %all_signals = alloca [128 x i8], align 8
  %old_signals = alloca [128 x i8], align 8
  call i32 @sigfillset(ptr %all_signals)
  call i32 @pthread_sigmask(i32 2, ptr %all_signals, ptr %old_signals)
  br label %check
check:
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  %short = icmp ult i64 %workers, %count
  br i1 %short, label %create, label %return
create:
  atomicrmw add ptr @workers, i64 1 seq_cst
  %state = load atomic i64, ptr @state monotonic, align 8
  %generation = lshr i64 %state, 32
  %born = inttoptr i64 %generation to ptr
  %error = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %born)
  %failed = icmp ne i32 %error, 0
  br i1 %failed, label %undo, label %created
created:
  %handle = load i64, ptr %thread
  call i32 @pthread_detach(i64 %handle)
  br label %check
undo:
  atomicrmw sub ptr @workers, i64 1 seq_cst
  br label %return
return:
  call i32 @pthread_sigmask(i32 2, ptr %old_signals, ptr null)
  ret void
}

define internal void @wake_all() noinline {
  atomicrmw add ptr @wake_sequence, i32 1 seq_cst
  %woken = call i64 (i64, ...) @syscall(i64 $futex, ptr @wake_sequence, i32 129, i32 2147483647)
  ret void
}

; Surplus workers leave when they wake or see the next region, before they run anything of it.
define void @lt_set_workers(i64 %count) {
  store atomic i64 %count, ptr @wanted_workers seq_cst, align 8
  call void @wake_all()
  ret void
}

define i64 @lt_worker_count() {
  %workers = load atomic i64, ptr @workers seq_cst, align 8
  ret i64 %workers
}

; The child of a fork has the memory but not the threads.
define void @lt_after_fork() {
  store atomic i64 0, ptr @workers seq_cst, align 8
  store atomic i32 0, ptr @sleepers seq_cst, align 4
  store atomic i32 0, ptr @busy seq_cst, align 4
  %closed = atomicrmw or ptr @state, i64 4294967295 seq_cst
  ret void
}

define void @lt_parallel(ptr %kernel, ptr %arguments, i64 %chunks) {
entry:
  %single = icmp ule i64 %chunks, 1
  br i1 %single, label %serial, label %count
count:
  %wanted = load atomic i64, ptr @wanted_workers monotonic, align 8
  %alone = icmp eq i64 %wanted, 0
  br i1 %alone, label %serial, label %enter
enter:
  %entered = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %free = extractvalue { i32, i1 } %entered, 1
  br i1 %free, label %staff, label %serial
staff:
  %others = sub i64 %chunks, 1
  %useful = call i64 @llvm.umin.i64(i64 %others, i64 %wanted)
  %workers = load atomic i64, ptr @workers monotonic, align 8
  %short = icmp ult i64 %workers, %useful
  br i1 %short, label %hiring, label %open
hiring:
  call void @hire(i64 %useful)
  br label %open
open:
  store atomic ptr %kernel, ptr @kernel release, align 8
  store atomic ptr %arguments, ptr @arguments release, align 8
  store atomic i64 %chunks, ptr @chunks release, align 8
  store atomic i64 0, ptr @done monotonic, align 8
  %closed = load atomic i64, ptr @state monotonic, align 8
  %previous = lshr i64 %closed, 32
  %next = add i64 %previous, 1
  %generation = and i64 %next, 4294967295
  %opened = shl i64 %generation, 32
  store atomic i64 %opened, ptr @state seq_cst, align 8
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %anyone = icmp ne i32 %asleep, 0
  br i1 %anyone, label %wake, label %work
wake:
  call void @wake_all()
  br label %work
work:
  call void @drain(i64 %generation)
  br label %finish
finish:
  %round = phi i32 [ 0, %work ], [ %later, %pause ], [ %round, %yield ]
  %done = load atomic i64, ptr @done acquire, align 8
  %finished = icmp eq i64 %done, %chunks
  br i1 %finished, label %close, label %wait
wait:
  %impatient = icmp ugt i32 %round, 2000
  br i1 %impatient, label %yield, label %pause
yield:
  %yielded = call i32 @sched_yield()
  br label %finish
pause:
  $pause
  %later = add i32 %round, 1
  br label %finish
close:
  %end = or i64 %opened, 4294967295
  store atomic i64 %end, ptr @state release, align 8
  store atomic i32 0, ptr @busy release, align 4
  ret void
serial:
  %empty = icmp eq i64 %chunks, 0
  br i1 %empty, label %return, label %each
each:
  %chunk = phi i64 [ 0, %serial ], [ %following, %each ]
  call void %kernel(ptr %arguments, i64 %chunk, i64 %chunks)
  %following = add i64 %chunk, 1
  %more = icmp ult i64 %following, %chunks
  br i1 %more, label %each, label %return
return:
  ret void
}
""")


def pool_text(target: Target) -> str:
    """The pool as an LLVM module for `target`."""
    platform = _X86 if target.is_x86 else _ARM
    return _POOL.substitute(vars(platform))


class ThreadPool:
    """The process's pool. `parallel_address` is `lt_parallel`, which compiled code also finds under that name."""

    def __init__(self) -> None:
        target = host_target()
        code = engine().load(engine().object_code(pool_text(target), target), _SYMBOLS)
        code.pin()  # workers run in it for as long as the process lives
        self.parallel_address = code["lt_parallel"]
        self._set_workers = ctypes.CFUNCTYPE(None, ctypes.c_int64)(code["lt_set_workers"])
        self._worker_count = ctypes.CFUNCTYPE(ctypes.c_int64)(code["lt_worker_count"])
        self._parallel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(self.parallel_address)
        engine().define_symbol("lt_parallel", self.parallel_address)
        self._configured = -1
        self.apply_settings()
        os.register_at_fork(after_in_child=ctypes.CFUNCTYPE(None)(code["lt_after_fork"]))

    def apply_settings(self) -> None:
        """Take over `config.num_threads` when it has changed. Called before each run; costs nothing when it has not."""
        if self._configured != config.num_threads:
            self._configured = config.num_threads
            self._set_workers(get_num_threads() - 1)

    @property
    def worker_count(self) -> int:
        """Threads that exist now beside the callers'. They are made when a region first needs them."""
        return int(self._worker_count())

    def parallel(self, kernel: int, arguments: int, chunks: int) -> None:
        """Run the kernel at address `kernel` on `chunks` chunks with the argument block at address `arguments`."""
        self.apply_settings()
        if not 0 <= chunks <= MAX_CHUNKS:
            raise ValueError(f"parallel: expected 0 to {MAX_CHUNKS} chunks, got {chunks}")
        self._parallel(kernel, arguments, chunks)


@cache
def thread_pool() -> ThreadPool:
    """The process's pool, made at the first call; its workers are made at the first region."""
    return ThreadPool()
