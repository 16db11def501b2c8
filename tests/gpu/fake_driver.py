"""A CUDA driver under the real pycuda: the functions of `libcuda.so.1` (tools/build_pycuda.py) answered by PTX emulators.

Nothing asynchronous is done before somebody waits for it, and then only what the wait is for: streams lag behind each other
as far as they may, so that work which was not told to wait for other work comes too early, and host memory that was given
back or changed too early is seen to be. Errors of kernels stay, as a real context's do.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lazytorch.runtime.ptx_emulator import Emulator, KernelFault
from lazytorch.runtime.ptx_emulator.errors import (
    DeviceMemoryError,
    LaunchError,
    MisalignedAccess,
    OutOfBoundsAccess,
    OutOfDeviceMemory,
    PtxError,
)

OUT_OF_MEMORY, NO_DEVICE, INVALID_PTX, NOT_FOUND, NOT_READY = 2, 100, 218, 500, 600
INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE = 1, 201, 400
ILLEGAL_ADDRESS, MISALIGNED, LAUNCH_FAILED = 700, 716, 719
MESSAGES = {
    INVALID_VALUE: b"invalid argument",
    OUT_OF_MEMORY: b"out of memory",
    NO_DEVICE: b"no CUDA-capable device is detected",
    INVALID_CONTEXT: b"invalid device context",
    INVALID_PTX: b"a PTX JIT compilation failed",
    INVALID_HANDLE: b"invalid resource handle",
    NOT_FOUND: b"named symbol not found",
    NOT_READY: b"device not ready",
    ILLEGAL_ADDRESS: b"an illegal memory access was encountered",
    701: b"too many resources requested for launch",
    MISALIGNED: b"misaligned address",
    LAUNCH_FAILED: b"unspecified launch failure",
    801: b"operation not supported",
}
_STICKY = (ILLEGAL_ADDRESS, MISALIGNED, LAUNCH_FAILED)
_ATTRIBUTES = {1: 1024, 2: 1024, 8: 49152, 10: 32, 12: 65536, 16: 108, 39: 2048, 97: 166912}
_WORDS = 12
_ANSWER = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_size_t] * _WORDS)


class Failure(Exception):
    """What a function returns instead of success."""


class FakeStream:
    """Work in order; `finished` of `begun` pieces are done."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.queue: deque[Callable[[], None]] = deque()
        self.begun = self.finished = 0
        self.captured: list[Callable[[], None]] | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Add work; a captured stream only notes it."""
        if self.captured is not None:
            self.captured.append(work)
            return
        self.queue.append(work)
        self.begun += 1

    def finish(self, count: int | None = None) -> None:
        """Do the work up to a count, all by default."""
        while self.finished < (self.begun if count is None else count):
            work = self.queue.popleft()
            self.finished += 1
            if not self.device.error:
                self.device.attempt(work)


class FakeEvent:
    """The place at which it was recorded last."""

    def __init__(self) -> None:
        self.stream: FakeStream | None = None
        self.count = 0

    def happened(self) -> bool:
        return self.stream is None or self.stream.finished >= self.count

    def finish(self) -> None:
        if self.stream is not None:
            self.stream.finish(self.count)


class FakeDevice:
    """One device: its emulator, its streams, and the error that broke it."""

    def __init__(self, memory: int, capability: tuple[int, int]) -> None:
        self.emulator = Emulator(memory=memory, capability=capability)
        self.memory = memory
        self.capability = capability
        self.streams: list[FakeStream] = []
        self.default = self.new_stream()
        self.error = 0
        self.fault: Exception | None = None

    def new_stream(self) -> FakeStream:
        stream = FakeStream(self)
        self.streams.append(stream)
        return stream

    def attempt(self, work: Callable[[], None]) -> None:
        """Do work; what goes wrong breaks the device."""
        try:
            work()
        except (KernelFault, DeviceMemoryError) as fault:
            kinds = {OutOfBoundsAccess: ILLEGAL_ADDRESS, DeviceMemoryError: ILLEGAL_ADDRESS, MisalignedAccess: MISALIGNED}
            self.error, self.fault = kinds.get(type(fault), LAUNCH_FAILED), fault

    def finish(self) -> None:
        for stream in list(self.streams):
            stream.finish()


class FakeDriver:
    """The driver. calls: how often each function was called; failures: codes that the next calls of a function return."""

    def __init__(self, library: Path, devices: int = 1, memory: int = 1 << 26, capability: tuple[int, int] = (8, 0)) -> None:
        self.library = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        atexit.register(self.library.close_driver)
        self.devices = [FakeDevice(memory, capability) for _ in range(devices)]
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, list[int]] = {}
        self.objects: dict[int, Any] = {}
        self.pinned: dict[int, np.ndarray] = {}
        self._stacks = threading.local()
        self._next = 0x1000
        self._answers = []
        for name, function in inspect.getmembers(self, inspect.ismethod):
            if name.startswith("cu"):
                self._answer(name, function)

    def _answer(self, name: str, function: Callable[..., None]) -> None:
        count = len(inspect.signature(function).parameters)

        def answer(*words: int) -> int:
            self.calls[name] += 1
            try:
                if self.failures.get(name):
                    raise Failure(self.failures[name].pop(0))
                function(*words[:count])
            except Failure as failure:
                return int(failure.args[0])
            return 0

        self._answers.append(_ANSWER(answer))
        for version in ("", "_v2", "_v3", "_v4"):
            self.library.answer((name + version).encode(), self._answers[-1])

    def new(self, thing: Any) -> int:
        """A handle."""
        self._next += 16
        self.objects[self._next] = thing
        return self._next

    def current(self) -> FakeDevice:
        """The device whose context is current, which must be well."""
        stack = self._stack()
        if not stack:
            raise Failure(INVALID_CONTEXT)
        device = self.devices[stack[-1]]
        if device.error:
            raise Failure(device.error)
        return device

    def _stack(self) -> list[int]:
        if not hasattr(self._stacks, "contexts"):
            self._stacks.contexts = []
        contexts: list[int] = self._stacks.contexts
        return contexts

    def stream(self, handle: int) -> FakeStream:
        device = self.current()
        stream = self.objects[handle] if handle else device.default
        assert isinstance(stream, FakeStream)
        return stream

    def heal(self) -> None:
        """A new process would have working devices again; what is waiting is forgotten."""
        for device in self.devices:
            device.error, device.fault = 0, None
            for stream in device.streams:
                stream.queue.clear()
                stream.finished = stream.begun
        self.failures.clear()

    # Devices and contexts

    def cuInit(self, flags: int) -> None:
        pass

    def cuDriverGetVersion(self, version: int) -> None:
        _put(version, ctypes.c_int, 12090)

    def cuGetErrorString(self, code: int, text: int) -> None:
        message = MESSAGES.get(code & 0xFFFFFFFF, b"unknown error")
        _put(text, ctypes.c_char_p, message)

    def cuDeviceGetCount(self, count: int) -> None:
        _put(count, ctypes.c_int, len(self.devices))

    def cuDeviceGet(self, device: int, number: int) -> None:
        _put(device, ctypes.c_int, number & 0xFFFFFFFF)

    def cuDeviceGetName(self, text: int, size: int, device: int) -> None:
        ctypes.memmove(text, b"fake CUDA device over the PTX emulator\0", 39)

    def cuDeviceTotalMem(self, size: int, device: int) -> None:
        _put(size, ctypes.c_size_t, self.devices[device & 0xFFFFFFFF].memory)

    def cuDeviceComputeCapability(self, major: int, minor: int, device: int) -> None:
        capability = self.devices[device & 0xFFFFFFFF].capability
        _put(major, ctypes.c_int, capability[0])
        _put(minor, ctypes.c_int, capability[1])

    def cuDeviceGetAttribute(self, value: int, attribute: int, device: int) -> None:
        _put(value, ctypes.c_int, _ATTRIBUTES.get(attribute & 0xFFFFFFFF, 0))

    def cuDevicePrimaryCtxRetain(self, context: int, device: int) -> None:
        _put(context, ctypes.c_size_t, 1 + (device & 0xFFFFFFFF))

    def cuDevicePrimaryCtxRelease(self, device: int) -> None:
        pass

    def cuCtxPushCurrent(self, context: int) -> None:
        self._stack().append(context - 1)

    def cuCtxPopCurrent(self, context: int) -> None:
        if not self._stack():
            raise Failure(INVALID_CONTEXT)
        popped = self._stack().pop()
        if context:
            _put(context, ctypes.c_size_t, 1 + popped)

    def cuCtxGetDevice(self, device: int) -> None:
        _put(device, ctypes.c_int, self.devices.index(self.current()))

    def cuCtxSynchronize(self) -> None:
        self.current().finish()
        self.current()

    # Streams and events

    def cuStreamCreate(self, stream: int, flags: int) -> None:
        _put(stream, ctypes.c_size_t, self.new(self.current().new_stream()))

    def cuStreamDestroy(self, stream: int) -> None:
        self.objects.pop(stream)

    def cuStreamSynchronize(self, stream: int) -> None:
        self.stream(stream).finish()
        self.current()

    def cuStreamQuery(self, handle: int) -> None:
        stream = self.stream(handle)
        if stream.finished < stream.begun:
            stream.finish(stream.finished + 1)
            raise Failure(NOT_READY)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        point = FakeEvent()
        point.stream, point.count = self.objects[event].stream, self.objects[event].count
        self.stream(stream).put(point.finish)

    def cuEventCreate(self, event: int, flags: int) -> None:
        self.current()
        _put(event, ctypes.c_size_t, self.new(FakeEvent()))

    def cuEventDestroy(self, event: int) -> None:
        self.objects.pop(event)

    def cuEventRecord(self, event: int, stream: int) -> None:
        point, queue = self.objects[event], self.stream(stream)
        queue.put(lambda: None)
        point.stream, point.count = queue, queue.begun

    def cuEventQuery(self, event: int) -> None:
        self.current()
        point = self.objects[event]
        if not point.happened():
            point.stream.finish(point.stream.finished + 1)
            raise Failure(NOT_READY)

    def cuEventSynchronize(self, event: int) -> None:
        self.current()
        self.objects[event].finish()
        self.current()

    def cuEventElapsedTime(self, milliseconds: int, first: int, second: int) -> None:
        if not (self.objects[first].happened() and self.objects[second].happened()):
            raise Failure(NOT_READY)
        _put(milliseconds, ctypes.c_float, 0.5)

    # Memory

    def cuMemAlloc(self, address: int, size: int) -> None:
        device = self.current()
        try:
            _put(address, ctypes.c_size_t, device.emulator.allocate(size))
        except OutOfDeviceMemory:
            raise Failure(OUT_OF_MEMORY) from None

    def cuMemFree(self, address: int) -> None:
        device = self.current()
        device.finish()
        try:
            device.emulator.free(address)
        except DeviceMemoryError:
            raise Failure(INVALID_VALUE) from None

    def cuMemGetInfo(self, free: int, total: int) -> None:
        _put(free, ctypes.c_size_t, self.current().memory // 2)
        _put(total, ctypes.c_size_t, self.current().memory)

    def cuMemHostAlloc(self, address: int, size: int, flags: int) -> None:
        self.current()
        memory = np.zeros(max(size, 1), np.uint8)
        self.pinned[memory.ctypes.data] = memory
        _put(address, ctypes.c_size_t, memory.ctypes.data)

    def cuMemFreeHost(self, address: int) -> None:
        for device in self.devices:
            device.finish()
        self.pinned.pop(address)

    def _is_pinned(self, address: int) -> bool:
        return any(base <= address < base + memory.nbytes for base, memory in self.pinned.items())

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        queue, emulator = self.stream(stream), self.current().emulator
        if self._is_pinned(source):
            queue.put(lambda: emulator.write(target, ctypes.string_at(source, size)))
        else:
            data = ctypes.string_at(source, size)
            queue.put(lambda: emulator.write(target, data))

    def cuMemcpyDtoHAsync(self, target: int, source: int, size: int, stream: int) -> None:
        queue, emulator = self.stream(stream), self.current().emulator
        queue.put(lambda: ctypes.memmove(target, emulator.read(source, size).tobytes(), size))
        if not self._is_pinned(target):
            queue.finish()

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> None:
        emulator = self.current().emulator
        self.stream(stream).put(lambda: emulator.copy(target, source, size))

    def cuMemcpyPeerAsync(self, target: int, to: int, source: int, come: int, size: int, stream: int) -> None:
        here, there = self.devices[to - 1].emulator, self.devices[come - 1].emulator
        self.stream(stream).put(lambda: here.write(target, there.read(source, size)))

    # Modules and launches

    def cuModuleLoadDataEx(self, module: int, image: int, count: int, options: int, values: int) -> None:
        try:
            loaded = self.current().emulator.load(ctypes.string_at(image).decode())
        except PtxError:
            raise Failure(INVALID_PTX) from None
        _put(module, ctypes.c_size_t, self.new(loaded))

    def cuModuleLoadData(self, module: int, image: int) -> None:
        self.cuModuleLoadDataEx(module, image, 0, 0, 0)

    def cuModuleUnload(self, module: int) -> None:
        self.objects.pop(module)

    def cuModuleGetFunction(self, function: int, module: int, name: int) -> None:
        try:
            kernel = self.objects[module].kernel(ctypes.string_at(name).decode())
        except KeyError:
            raise Failure(NOT_FOUND) from None
        _put(function, ctypes.c_size_t, self.new(kernel))

    def cuLaunchKernel(
        self,
        function: int,
        grid_x: int,
        grid_y: int,
        grid_z: int,
        block_x: int,
        block_y: int,
        block_z: int,
        shared: int,
        stream: int,
        parameters: int,
        extra: int,
    ) -> None:
        kernel = self.objects[function]
        grid, block = ([n & 0xFFFFFFFF for n in sizes] for sizes in ((grid_x, grid_y, grid_z), (block_x, block_y, block_z)))
        arguments = _packed(extra)
        if len(arguments) != kernel.program.parameter_bytes or min(*grid, *block) < 1:
            raise Failure(INVALID_VALUE)
        queue = self.stream(stream)

        def run() -> None:
            try:
                kernel.launch(grid, block, arguments, shared & 0xFFFFFFFF)
            except LaunchError as error:
                raise AssertionError(f"a launch that a driver would refuse: {error}") from error

        queue.put(run)

    # Graphs

    def cuStreamBeginCapture(self, stream: int, mode: int) -> None:
        self.stream(stream).captured = []

    def cuStreamEndCapture(self, stream: int, graph: int) -> None:
        captured, self.stream(stream).captured = self.stream(stream).captured, None
        _put(graph, ctypes.c_size_t, self.new(captured))

    def cuGraphInstantiateWithFlags(self, runnable: int, graph: int, flags: int) -> None:
        _put(runnable, ctypes.c_size_t, self.new(list(self.objects[graph])))

    def cuGraphLaunch(self, runnable: int, stream: int) -> None:
        for work in self.objects[runnable]:
            self.stream(stream).put(work)

    def cuGraphDestroy(self, graph: int) -> None:
        self.objects.pop(graph)

    def cuGraphExecDestroy(self, runnable: int) -> None:
        self.objects.pop(runnable)


def _put(address: int, kind: Any, value: Any) -> None:
    """Write a result where the caller wants it."""
    kind.from_address(address).value = value


def _packed(extra: int) -> bytes:
    """The argument block that pycuda gives: pairs of (1, address) and (2, address of the size), then 0."""
    words = (ctypes.c_size_t * 5).from_address(extra)
    found = {words[0]: words[1], words[2]: words[3]}
    return ctypes.string_at(found[1], ctypes.c_size_t.from_address(found[2]).value)


DRIVER: FakeDriver | None = None
"""The one of this process: a library is loaded once."""
