"""Running a compiled program: a table of steps that one native call executes, without Python between them.

A step is a kernel, `void kernel(ptr arguments, i64 chunk, i64 chunks)`, with an argument block of 8-byte slots of its
own: sizes and strides, filled in once, and pointers, which change from run to run. The pointers come from the
program's *bindings*: 8-byte values given to each run (addresses of inputs, outputs and arenas, sizes, scalars)
followed by constants. A *patch* says which slot of a step is which binding plus which byte offset; the runner writes
the slots just before the step.

A kernel that finds an error (an index out of range) calls `lt_fail(status, code, first, second)` with the status
address it got in a slot and a code that is not 0; the runner stops after that step, and the run tells which one it
was. The first call wins.

Steps may be Python functions (`HostFunction`): they are called through the same signature, need no special treatment
by the runner, and their exceptions come out of `NativeProgram.run`.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from string import Template
from typing import NamedTuple

from lazytorch.codegen.target import host_target
from lazytorch.errors import VerificationError
from lazytorch.runtime.engine import engine
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.runtime.thread_pool import MAX_CHUNKS, thread_pool

HOST_EXCEPTION = -1
"""Status code of a step whose Python function raised. Kernels use positive codes."""

_WORD = 8
# Records are arrays of 8-byte words:
#   status:  code, first, second number
#   program: steps, number of steps, status, end times of the steps (written by timed runs)
#   step:    function, arguments, chunks, first patch, end of patches
#   patch:   address of the slot, address of the binding, byte offset
_STATUS_WORDS = 3
_PROGRAM_WORDS = 4
_STEP_WORDS = 5
_PATCH_WORDS = 3
_HOST_WORDS = 2  # before each argument block: number of slots, status

_STATUS_AND_CLOCK = """
declare void @lt_parallel(ptr, ptr, i64)
declare i32 @clock_gettime(i32, ptr)

; The first failure of a run is kept: code, then two numbers that say more.
define void @lt_fail(ptr %status, i64 %code, i64 %first, i64 %second) {
  %exchange = cmpxchg ptr %status, i64 0, i64 %code seq_cst monotonic
  %won = extractvalue { i64, i1 } %exchange, 1
  br i1 %won, label %tell, label %return
tell:
  %first_word = getelementptr i64, ptr %status, i64 1
  store i64 %first, ptr %first_word
  %second_word = getelementptr i64, ptr %status, i64 2
  store i64 %second, ptr %second_word
  br label %return
return:
  ret void
}

define internal i64 @nanoseconds() {
  %time = alloca { i64, i64 }
  call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %rest_word = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest_word
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %rest
  ret i64 %sum
}
"""

# Returns 0, or the number of the step that failed, counted from 1.
_RUN = Template("""
define i64 @$name(ptr %program) {
entry:
  %first_step = load ptr, ptr %program
  %count_word = getelementptr i64, ptr %program, i64 1
  %count = load i64, ptr %count_word
  %status_word = getelementptr i64, ptr %program, i64 2
  %status = load ptr, ptr %status_word
  %times_word = getelementptr i64, ptr %program, i64 3
  %times = load ptr, ptr %times_word
  store atomic i64 0, ptr %status monotonic, align 8
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %success, label %step
step:
  %index = phi i64 [ 0, %entry ], [ %number, %next ]
  %step_address = phi ptr [ %first_step, %entry ], [ %following, %next ]
  %function = load ptr, ptr %step_address
  %arguments_word = getelementptr i64, ptr %step_address, i64 1
  %arguments = load ptr, ptr %arguments_word
  %chunks_word = getelementptr i64, ptr %step_address, i64 2
  %chunks = load i64, ptr %chunks_word
  %patches_word = getelementptr i64, ptr %step_address, i64 3
  %patches = load ptr, ptr %patches_word
  %patches_end_word = getelementptr i64, ptr %step_address, i64 4
  %patches_end = load ptr, ptr %patches_end_word
  %unpatched = icmp eq ptr %patches, %patches_end
  br i1 %unpatched, label %call, label %patch
patch:
  %patch_address = phi ptr [ %patches, %step ], [ %next_patch, %patch ]
  %slot = load ptr, ptr %patch_address
  %binding_word = getelementptr i64, ptr %patch_address, i64 1
  %binding = load ptr, ptr %binding_word
  %offset_word = getelementptr i64, ptr %patch_address, i64 2
  %offset = load i64, ptr %offset_word
  %base = load i64, ptr %binding
  %value = add i64 %base, %offset
  store i64 %value, ptr %slot
  %next_patch = getelementptr i64, ptr %patch_address, i64 $patch_words
  %patched = icmp eq ptr %next_patch, %patches_end
  br i1 %patched, label %call, label %patch
call:
  %single = icmp ule i64 %chunks, 1
  br i1 %single, label %alone, label %together
alone:
  call void %function(ptr %arguments, i64 0, i64 1)
  br label %check
together:
  call void @lt_parallel(ptr %function, ptr %arguments, i64 %chunks)
  br label %check
check:
$record_time
  %number = add i64 %index, 1
  %code = load atomic i64, ptr %status monotonic, align 8
  %failed = icmp ne i64 %code, 0
  br i1 %failed, label %failure, label %next
next:
  %following = getelementptr i64, ptr %step_address, i64 $step_words
  %finished = icmp eq i64 %number, %count
  br i1 %finished, label %success, label %step
failure:
  ret i64 %number
success:
  ret i64 0
}
""")

_RECORD_TIME = """  %now = call i64 @nanoseconds()
  %time_word = getelementptr i64, ptr %times, i64 %index
  store i64 %now, ptr %time_word"""


class StatusAddress:
    """As a slot's value: the address of the program's status, to be handed to `lt_fail`. Use `STATUS`."""

    def __repr__(self) -> str:
        return "STATUS"


STATUS = StatusAddress()


@dataclass(frozen=True, slots=True)
class BindingAddress:
    """As a slot's value: the address where binding number `index` lies, for a kernel that loads a scalar by pointer."""

    index: int


class Patch(NamedTuple):
    """Before each run of its step, slot number `slot` becomes binding number `binding` plus `offset` bytes."""

    slot: int
    binding: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call: the function's address (or a host function), its argument slots, and how many chunks it runs.

    With one chunk the function runs on the thread that runs the program; a host function always does.
    """

    function: int | HostFunction
    slots: Sequence[int | StatusAddress | BindingAddress] = ()
    patches: Sequence[Patch] = ()
    chunks: int = 1
    name: str = ""


class Failure(NamedTuple):
    """Why a run stopped: the step (from 0), its status code, and the two numbers that it gave."""

    step: int
    code: int
    first: int
    second: int


class HostFunction:
    """A Python function as a step. It gets its step's slots (a ctypes array of int64): addresses and sizes to work on.

    An exception that it raises stops the run and is raised by `NativeProgram.run`, in the same thread.
    """

    def __init__(self, function: Callable[[ctypes.Array[ctypes.c_int64]], object]) -> None:
        def call(arguments: int, chunk: int, chunks: int) -> None:
            # NativeProgram puts the number of slots and the status address before a host function's slots.
            count, status = (ctypes.c_int64 * 2).from_address(arguments - 2 * _WORD)
            try:
                function((ctypes.c_int64 * count).from_address(arguments))
            except BaseException as error:  # KeyboardInterrupt too: ctypes would print and drop it
                _host_error.value = error
                ctypes.c_int64.from_address(status).value = HOST_EXCEPTION

        self._callback = _KERNEL(call)
        self.address: int = ctypes.cast(self._callback, ctypes.c_void_p).value or 0


_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class _HostError(threading.local):
    """The exception of the host function that stopped this thread's run."""

    value: BaseException | None = None


class _LastFailure(threading.local):
    """Why this thread's last failed run of one program stopped."""

    value: Failure | None = None


_host_error = _HostError()


class _Runner:
    """The native functions, compiled once."""

    def __init__(self) -> None:
        self.apply_settings = thread_pool().apply_settings  # makes the pool, whose lt_parallel the text below calls
        target = host_target()
        code = engine().load(engine().object_code(runner_text(), target), ("lt_fail", "lt_run", "lt_run_timed"))
        code.pin()
        engine().define_symbol("lt_fail", code["lt_fail"])
        signature = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
        self.run = signature(code["lt_run"])
        self.run_timed = signature(code["lt_run_timed"])


@cache
def runner() -> _Runner:
    """The process's runner. Kernels that call `lt_parallel` or `lt_fail` must be loaded after its first call."""
    return _Runner()


def runner_text() -> str:
    """The runner as an LLVM module, the same for every target."""
    sizes = {"step_words": _STEP_WORDS, "patch_words": _PATCH_WORDS}
    plain = _RUN.substitute(sizes, name="lt_run", record_time="")
    timed = _RUN.substitute(sizes, name="lt_run_timed", record_time=_RECORD_TIME)
    return _STATUS_AND_CLOCK + plain + timed


class _Block:
    """One packed copy of a program: bindings, records and argument blocks in one piece of memory that never moves."""

    __slots__ = ("_export", "address", "memory", "program_address")

    def __init__(self, words: int) -> None:
        self.memory = bytearray(_WORD * words)
        self._export = (ctypes.c_char * len(self.memory)).from_buffer(self.memory)
        self.address = ctypes.addressof(self._export)
        self.program_address = 0


class NativeProgram:
    """A table of steps, ready to run.

    `formats` says what `run` is given, one struct character for each binding: `Q` an address, `q` an i64, `d` an f64,
    `f` an f32 (in the low four bytes). `constants` are the bindings after those. `keep` is what must live as long as
    the program: loaded code, buffers of constants.

    Two threads may run one program at the same time: each run takes a packed copy for itself, made anew when all are in
    use. What the bindings point to is the callers' to keep apart.

    Raises VerificationError when a step names a slot, binding or number of chunks that does not exist.
    """

    __slots__ = (
        "_apply_settings",
        "_failure",
        "_idle",
        "_pack_bindings",
        "_run",
        "_run_timed",
        "_step_count",
        "constants",
        "formats",
        "keep",
        "steps",
    )

    def __init__(
        self,
        steps: Sequence[Step],
        formats: str = "",
        constants: Sequence[int] = (),
        keep: Sequence[object] = (),
    ) -> None:
        if not set(formats) <= set("Qqdfe"):
            raise ValueError(f"formats: expected characters of 'Qqdfe', got {formats!r}")
        self.steps = tuple(steps)
        self.formats = formats
        self.constants = tuple(constants)
        self.keep = tuple(keep)
        self._step_count = len(self.steps)
        self._pack_bindings = struct.Struct("<" + formats.replace("f", "f4x").replace("e", "e6x")).pack_into
        for step in self.steps:
            self._verify(step)
        native = runner()
        self._run, self._run_timed, self._apply_settings = native.run, native.run_timed, native.apply_settings
        self._failure = _LastFailure()
        self._idle = [self._packed()]

    def run(self, *values: int | float) -> int:
        """Run all steps with `values` as bindings. Returns 0, or 1 + the step that failed; `failure` then tells more.

        The GIL is released while it runs. Raises what a host function raised, and struct.error for values that do not
        fit the formats.
        """
        try:
            block = self._idle.pop()
        except IndexError:
            block = self._packed()
        try:
            self._apply_settings()
            self._pack_bindings(block.memory, 0, *values)
            failed: int = self._run(block.program_address)
            STATISTICS.native_calls += 1
            STATISTICS.kernels_run += self._step_count
            if failed:
                self._note_failure(block, failed)
            return failed
        finally:
            self._idle.append(block)

    def run_timed(self, *values: int | float) -> tuple[int, list[int]]:
        """As `run`, with the nanoseconds that each step took, up to the one that failed: for the profiler."""
        block = self._packed()
        self._apply_settings()
        self._pack_bindings(block.memory, 0, *values)
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        failed = self._run_timed(block.program_address)
        count = failed or self._step_count
        ends = struct.unpack_from(f"<{count}q", block.memory, _WORD * self._times_word)
        if failed:
            self._note_failure(block, failed)
        return failed, [end - begin for begin, end in pairwise((start, *ends))]

    @property
    def failure(self) -> Failure | None:
        """Why the last failed run in this thread stopped; None when none has."""
        return self._failure.value

    @property
    def binding_count(self) -> int:
        """Number of bindings, constants included."""
        return len(self.formats) + len(self.constants)

    # Words of a block: bindings, status, program record, end times, step records, patch records, argument blocks.

    @property
    def _status_word(self) -> int:
        return self.binding_count

    @property
    def _times_word(self) -> int:
        return self.binding_count + _STATUS_WORDS + _PROGRAM_WORDS

    def _packed(self) -> _Block:
        """A new copy of the program with all addresses filled in."""
        first_step = self._times_word + self._step_count
        first_patch = first_step + _STEP_WORDS * self._step_count
        first_slot = first_patch + _PATCH_WORDS * sum(len(step.patches) for step in self.steps)
        block = _Block(first_slot + sum(len(step.slots) + _HOST_WORDS for step in self.steps))

        def address(word: int) -> int:
            return block.address + _WORD * word

        status = address(self._status_word)
        block.program_address = address(self._status_word + _STATUS_WORDS)
        records = [address(first_step), self._step_count, status, address(self._times_word), *[0] * self._step_count]
        patches: list[int] = []
        slots: list[int] = []
        for step in self.steps:
            slots += (len(step.slots), status)
            arguments = first_slot + len(slots)
            slots += [self._slot_value(value, block) for value in step.slots]
            begin = address(first_patch + len(patches))
            for slot, binding, offset in step.patches:
                patches += (address(arguments + slot), address(binding), offset)
            end = address(first_patch + len(patches))
            function = step.function.address if isinstance(step.function, HostFunction) else step.function
            records += (function, address(arguments), step.chunks, begin, end)
        _pack_words(block.memory, len(self.formats), self.constants)
        _pack_words(block.memory, self._status_word + _STATUS_WORDS, records + patches + slots)
        return block

    def _slot_value(self, value: int | StatusAddress | BindingAddress, block: _Block) -> int:
        if isinstance(value, StatusAddress):
            return block.address + _WORD * self._status_word
        if isinstance(value, BindingAddress):
            return block.address + _WORD * value.index
        return value

    def _note_failure(self, block: _Block, failed: int) -> None:
        """Keep the status for `failure`; raise what a host function raised."""
        code, first, second = struct.unpack_from("<3q", block.memory, _WORD * self._status_word)
        self._failure.value = Failure(failed - 1, code, first, second)
        error, _host_error.value = _host_error.value, None
        if code == HOST_EXCEPTION and error is not None:
            raise error

    def _verify(self, step: Step) -> None:
        """Check every number of a step that native code will trust."""
        stage = f"step {step.name or '?'}"
        if isinstance(step.function, HostFunction):
            if step.chunks != 1:
                raise VerificationError(f"a host function runs as one chunk, got {step.chunks}", stage=stage)
        elif step.function <= 0:
            raise VerificationError(f"{step.function} is not the address of a function", stage=stage)
        if not 1 <= step.chunks <= MAX_CHUNKS:
            raise VerificationError(f"expected 1 to {MAX_CHUNKS} chunks, got {step.chunks}", stage=stage)
        for value in step.slots:
            if isinstance(value, BindingAddress) and not 0 <= value.index < self.binding_count:
                raise VerificationError(f"there is no binding {value.index}", stage=stage)
        for slot, binding, offset in step.patches:
            if not 0 <= slot < len(step.slots):
                raise VerificationError(f"a patch writes slot {slot} of {len(step.slots)}", stage=stage)
            if not 0 <= binding < self.binding_count:
                raise VerificationError(f"slot {slot}: there is no binding {binding}", stage=stage)
            if offset and self.formats[binding : binding + 1] in ("d", "f"):
                raise VerificationError(f"slot {slot}: binding {binding} is a float and takes no offset", stage=stage)


def _pack_words(memory: bytearray, word: int, values: Sequence[int]) -> None:
    """Write integers, negative ones in two's complement, from 8-byte word number `word` on."""
    struct.pack_into(f"<{len(values)}Q", memory, _WORD * word, *(value & 0xFFFF_FFFF_FFFF_FFFF for value in values))
