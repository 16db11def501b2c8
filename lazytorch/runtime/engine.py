"""LLVM text → object code → callable code in this process.

There is one engine. It owns one ORC JIT, into which every object file is linked as a library of its own, so that each
can be taken out again without touching the others. Compiling and loading are apart: object code is bytes that can be
kept on disk and loaded in a tenth of a millisecond. No IR passes run: kernels come with explicit vectors and gain
nothing from them.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.target import Target, host_target
from lazytorch.errors import CompileError
from lazytorch.runtime.kernel_cache import cache_key, kernel_cache
from lazytorch.runtime.statistics import STATISTICS

_CONTEXT_LINES = 4
_ELF_MACHINE = {62: "x86_64", 183: "aarch64"}


class LoadedCode:
    """Machine code in this process: `addresses[symbol]`. It stays callable until `close()` or the last reference goes.

    Whoever keeps an address must keep this object too: without it the code is unmapped and a call crashes.
    """

    __slots__ = ("_tracker", "addresses")

    def __init__(self, tracker: Any, symbols: Sequence[str]) -> None:
        self._tracker = tracker
        self.addresses: Mapping[str, int] = {symbol: tracker[symbol] for symbol in symbols}
        STATISTICS.objects_loaded += 1

    def __getitem__(self, symbol: str) -> int:
        return self.addresses[symbol]

    @property
    def closed(self) -> bool:
        """True when the code has been unmapped."""
        return not self.addresses

    def close(self) -> None:
        """Unmap the code now; a second call does nothing. No thread may be inside it."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            self.addresses = {}
            STATISTICS.objects_unloaded += 1
            tracker.close()

    def pin(self) -> None:
        """Never unmap this code, not even when this object goes: threads that Python does not know of are inside."""
        tracker, self._tracker = self._tracker, None
        tracker.detach()

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # The tracker disposes of itself (and knows when the interpreter is ending); only the count is ours.
        if not _finalizing() and getattr(self, "_tracker", None) is not None:
            STATISTICS.objects_unloaded += 1


class Engine:
    """Compiles for any target and loads code for this machine. Use `engine()`; any thread may call its methods."""

    def __init__(self) -> None:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        llvm.initialize_native_asmparser()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._working = 0
        self._machines: dict[str, list[Any]] = {}
        self._imports: dict[str, int] = {}
        self._serial = itertools.count()
        self._jit_machine = _new_machine(host_target())
        self._jit = llvm.create_lljit_compiler(self._jit_machine)
        # A child that is forked while another thread is inside LLVM would find LLVM's own locks taken for ever.
        os.register_at_fork(before=self._stop, after_in_parent=self._lock.release, after_in_child=self._lock.release)

    def compile(self, text: str, target: Target) -> bytes:
        """Object code of an LLVM module given as text, for `target`, at code generation level 2.

        The module's own triple and data layout are replaced by the target's. Raises CompileError, with the lines
        around the fault, when LLVM cannot parse the text or its verifier rejects it.
        """
        start = time.perf_counter_ns()
        with self._parsed(text, target) as (module, machine):
            code = _emit(machine, module)
        STATISTICS.modules_compiled += 1
        STATISTICS.compile_nanoseconds += time.perf_counter_ns() - start
        return code

    def object_code(self, text: str, target: Target) -> bytes:
        """As `compile`, but taken from the kernel cache on disk when it is there, and put there when it is not."""
        stored = kernel_cache()
        if stored is None:
            return self.compile(text, target)
        key = cache_key(text, target.fingerprint)
        code = stored.get(key)
        if code is None:
            code = self.compile(text, target)
            stored.put(key, code)
        return code

    def assembly(self, text: str, target: Target) -> str:
        """The assembly that `compile` makes of `text`, to be read. Raises CompileError as `compile` does."""
        with self._parsed(text, target) as (module, machine):
            return str(machine.emit_assembly(module))

    def ptx(self, text: str, target: GpuTarget) -> str:
        """The PTX of an LLVM module given as text. Raises CompileError as `compile` does.

        Here IR passes do run: what is hoisted out of loops, and memory that becomes registers, is left to them.
        """
        start = time.perf_counter_ns()
        with self._parsed(text, target) as (module, machine):
            builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
            builder.getModulePassManager().run(module, builder)
            code = str(machine.emit_assembly(module))
        STATISTICS.modules_compiled += 1
        STATISTICS.compile_nanoseconds += time.perf_counter_ns() - start
        return code

    def load(self, code: bytes, symbols: Sequence[str]) -> LoadedCode:
        """Link object code into this process and return the addresses of `symbols`.

        The code may use what `define_symbol` has named and what the C library exports. Raises CompileError when a
        symbol is missing or the bytes are no object file of this machine's architecture.
        """
        self._check_architecture(code)
        with self._lock:
            builder = llvm.JITLibraryBuilder()
            for name, address in self._imports.items():
                builder.import_symbol(name, address)
            builder.add_current_process().add_object_img(code)
            for symbol in symbols:
                builder.export_symbol(symbol)
            try:
                tracker = builder.link(self._jit, f"lazytorch.{next(self._serial)}")
            except RuntimeError as error:
                raise CompileError(f"cannot load {', '.join(symbols)}: {error}", stage="link") from None
        return LoadedCode(tracker, symbols)

    def define_symbol(self, name: str, address: int) -> None:
        """Let code that is loaded from now on call `name`, a function at `address` that is never unmapped."""
        with self._lock:
            self._imports[name] = address

    def _check_architecture(self, code: bytes) -> None:
        """The JIT links another architecture's object file without a word, and calling it would crash."""
        host = host_target().triple.split("-")[0]
        machine = int.from_bytes(code[18:20], "little")
        if code[:4] == b"\x7fELF" and _ELF_MACHINE.get(machine) != host:
            found = _ELF_MACHINE.get(machine, f"ELF machine {machine}")
            raise CompileError(f"object code for {found} cannot be loaded on {host}", stage="link")

    def _stop(self) -> None:
        """Take the lock when no thread is inside LLVM."""
        self._lock.acquire()
        while self._working:
            self._idle.wait()

    @contextmanager
    def _parsed(self, text: str, target: Target | GpuTarget) -> Iterator[tuple[Any, Any]]:
        """The verified module and a machine that nobody else uses meanwhile. The module is in an LLVM context of its own: in
        a shared one, its types and names would pile up, and threads would have to wait for each other."""
        with self._lock:
            idle = self._machines.setdefault(target.fingerprint, [])
            machine = idle.pop() if idle else None
            self._working += 1
        try:
            machine = machine or _new_machine(target)
            context = llvm.create_context()
            try:
                module = llvm.parse_assembly(text, context)
                module.triple = target.triple
                module.data_layout = str(machine.target_data)
                module.verify()
            except RuntimeError as error:
                raise _compile_error(text, str(error)) from None
            with module:
                yield module, machine
        finally:
            with self._lock:
                if machine is not None:
                    idle.append(machine)
                self._working -= 1
                self._idle.notify_all()


def _new_machine(target: Target | GpuTarget) -> Any:
    """LLVM's target machine for `target`."""
    kind = llvm.Target.from_triple(target.triple)
    if isinstance(target, GpuTarget):
        return kind.create_target_machine(cpu=target.name, features=f"+ptx{target.ptx}", opt=3)
    return kind.create_target_machine(cpu=target.cpu, features=target.features, opt=2, codemodel="jitdefault", jit=True)


def _emit(machine: Any, module: Any) -> bytes:
    """The module's object code.

    llvmlite lets one thread at a time into LLVM. Modules in contexts of their own have nothing in common, so its function is
    called here beside its lock, where this version of it can be: kernels are compiled on several threads.
    """
    emit = getattr(ffi.lib.LLVMPY_TargetMachineEmitToMemory, "_cfn", None)
    if emit is None:
        code: bytes = machine.emit_object(module)
        return code
    with ffi.OutputString() as message:
        memory = emit(machine, module, 1, message)
        if not memory:
            raise CompileError(str(message), stage="llvm")
    try:
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(memory), ffi.lib.LLVMPY_GetBufferSize(memory))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(memory)


@cache
def engine() -> Engine:
    """The process's engine, made at the first call."""
    return Engine()


def _compile_error(text: str, message: str) -> CompileError:
    """LLVM's complaint with the numbered lines of `text` around the place it names, when it names one."""
    message = message.strip()
    place = re.search(r":(\d+):(\d+): error:", message)
    if place is None:
        return CompileError(message, stage="llvm")
    line = int(place[1])
    lines = text.splitlines()
    first = max(0, line - 1 - _CONTEXT_LINES)
    shown = [
        f"{'>' if number == line else ' '}{number:5} | {content}"
        for number, content in enumerate(lines[first : line + _CONTEXT_LINES], first + 1)
    ]
    return CompileError("\n".join([message, *shown]), stage="llvm")
