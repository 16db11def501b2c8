"""The device that users of the emulator see: memory, modules, launches."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazytorch.runtime.ptx_emulator import instructions
from lazytorch.runtime.ptx_emulator.counters import LaunchReport
from lazytorch.runtime.ptx_emulator.decoding import Parameter
from lazytorch.runtime.ptx_emulator.errors import LaunchError, PtxError
from lazytorch.runtime.ptx_emulator.launch import Dimensions, Launch, Request
from lazytorch.runtime.ptx_emulator.memory import KNOWN, DeviceMemory
from lazytorch.runtime.ptx_emulator.parser import ParsedModule, Variable, parse
from lazytorch.runtime.ptx_emulator.program import KernelProgram, build_kernel
from lazytorch.runtime.ptx_emulator.races import Shadows
from lazytorch.runtime.ptx_emulator.scheduler import Scheduler
from lazytorch.runtime.ptx_emulator.types import literal

assert instructions  # importing it registers them

# Threads that execute at once: more amortise NumPy's overhead, fewer stay in the cache.
THREADS_AT_ONCE = 65536
MOST_THREADS_PER_BLOCK = 1024
STATIC_SHARED_BYTES = 48 * 1024


class Emulator:
    """A GPU in NumPy. Launches are synchronous. `check` switches the detection of races and uninitialised reads, `count`
    the counters of memory sectors and bank conflicts; bounds, alignment and barriers are always checked. `shared_memory`
    is what a block may use at most, `capability` the compute capability (major, minor) up to which modules are accepted;
    a kernel that executes a basic block more than `most_visits` times is taken for endless."""

    def __init__(
        self,
        memory: int = 256 << 20,
        check: bool = True,
        count: bool = True,
        shared_memory: int = 227 * 1024,
        capability: tuple[int, int] = (10, 0),
        most_visits: int = 2_000_000,
    ) -> None:
        self.memory = DeviceMemory(memory)
        self.check, self.count = check, count
        self.shared_memory = shared_memory
        self.capability = capability
        self.most_visits = most_visits
        self.clock = 1  # of memory accesses, over all launches: what earlier launches did is never a race
        self.shadows = Shadows()

    def allocate(self, nbytes: int) -> int:
        """The address of `nbytes` bytes, a multiple of 256. Raises OutOfDeviceMemory."""
        return self.memory.allocate(nbytes)

    def free(self, address: int) -> None:
        """Give an allocation back. Raises DeviceMemoryError if none starts there."""
        self.memory.free(address)

    def write(self, address: int, data: Any) -> None:
        """Copy a contiguous buffer or array to the device. Raises DeviceMemoryError outside a live allocation."""
        source = np.ascontiguousarray(data) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        raw = source.reshape(-1).view(np.uint8)
        place = self.memory.host_range(address, raw.nbytes)
        self.memory.region.data[place] = raw
        self.memory.region.state[place] = KNOWN

    def read(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of device bytes. Raises DeviceMemoryError outside a live allocation."""
        return self.memory.region.data[self.memory.host_range(address, nbytes)].copy()

    def fill(self, address: int, value: int, nbytes: int) -> None:
        """Set every byte (cuMemsetD8)."""
        place = self.memory.host_range(address, nbytes)
        self.memory.region.data[place] = value
        self.memory.region.state[place] = KNOWN

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device; what was never written stays so."""
        to, come = self.memory.host_range(target, nbytes), self.memory.host_range(source, nbytes)
        region = self.memory.region
        region.data[to] = region.data[come].copy()
        region.state[to] = region.state[come].copy()

    def is_written(self, address: int, nbytes: int) -> bool:
        """Whether every byte has been written since it was allocated."""
        return bool((self.memory.region.state[self.memory.host_range(address, nbytes)] == KNOWN).all())

    def load(self, ptx: str) -> Module:
        """Load PTX text. Raises PtxError, with the line, for what the emulator does not know."""
        parsed, programs = _decode(ptx)
        needed = parsed.target.removeprefix("sm_").rstrip("af")
        if needed.isdigit() and divmod(int(needed), 10) > self.capability:
            raise PtxError(f"the module is for {parsed.target}, the device has compute capability {self.capability}")
        return Module(self, parsed, programs)


@lru_cache(maxsize=512)
def _decode(ptx: str) -> tuple[ParsedModule, dict[str, KernelProgram]]:
    """Parse and decode; the same text, loaded by any device, is decoded once."""
    parsed = parse(ptx)
    kernels = [function for function in parsed.functions.values() if function.is_kernel]
    return parsed, {function.name: build_kernel(parsed, function) for function in kernels}


class Module:
    """A loaded module: kernels, and global variables in device memory."""

    def __init__(self, device: Emulator, parsed: ParsedModule, programs: dict[str, KernelProgram]) -> None:
        self.device = device
        self.target = parsed.target
        self.version = parsed.version
        self.symbols: dict[str, int] = {}
        self._programs = programs
        for variable in parsed.variables:
            if variable.space in ("global", "const"):
                self._place(variable)

    def _place(self, variable: Variable) -> None:
        address = self.symbols[variable.name] = self.device.allocate(variable.bytes)
        size = variable.type.bytes
        try:
            values = [literal(value, 8 * size).tobytes() for value in variable.initial]
        except ValueError:
            raise PtxError(f"unsupported initial value of {variable.name}: {', '.join(variable.initial)}") from None
        # Variables without a value start as zero, as the driver promises.
        self.device.write(address, b"".join(values).ljust(variable.bytes, b"\0"))

    def kernel(self, name: str) -> Kernel:
        """A kernel by name. Raises KeyError."""
        if name not in self._programs:
            raise KeyError(f"no kernel {name}; there are {', '.join(self._programs)}")
        return Kernel(self, self._programs[name])

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(self._programs)

    def unload(self) -> None:
        """Free the global variables."""
        for address in self.symbols.values():
            self.device.free(address)
        self.symbols.clear()


class Kernel:
    """A kernel of a loaded module."""

    def __init__(self, module: Module, program: KernelProgram) -> None:
        self.module, self.program = module, program
        self.name = program.name
        self.parameters: list[Parameter] = program.parameters
        self.shared_bytes = program.shared_bytes
        self.local_bytes = program.local_bytes

    def launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any] | bytes,
        shared_bytes: int = 0,
    ) -> LaunchReport:
        """Run the kernel for a grid of blocks. Arguments are NumPy scalars of the parameters' sizes, addresses, numbers, or
        bytes; or, as a whole, the packed argument block. `shared_bytes` is the size of dynamic shared memory.

        Raises LaunchError if these do not fit the kernel, and a KernelFault for what goes wrong in it."""
        device, program = self.module.device, self.program
        shape = _dimensions(grid, "grid"), _dimensions(block, "block")
        self._check(*shape, shared_bytes)
        packed = self._pack(arguments)
        request = Request(
            program=program,
            grid=shape[0],
            block=shape[1],
            arguments=packed,
            dynamic_shared=shared_bytes,
            symbols=self.module.symbols,
            memory=device.memory,
            shadows=device.shadows if device.check else None,
            start=device.clock + 1,
            count=device.count,
            most_visits=device.most_visits,
        )
        report = LaunchReport(self.name, request.threads_per_block * request.blocks, request.blocks)
        at_once = max(1, THREADS_AT_ONCE // request.threads_per_block)
        with np.errstate(all="ignore"):
            for first in range(0, request.blocks, at_once):
                launch = Launch(request, first, min(at_once, request.blocks - first), report, device.clock + 1)
                try:
                    Scheduler(launch).run()
                finally:
                    device.clock = launch.clock + 1
        return report

    def _check(self, grid: Dimensions, block: Dimensions, shared_bytes: int) -> None:
        program = self.program
        threads = block[0] * block[1] * block[2]
        if threads > MOST_THREADS_PER_BLOCK or block[2] > 64:
            raise LaunchError(
                f"{self.name}: a block of {block} threads; at most {MOST_THREADS_PER_BLOCK} are possible, 64 along z"
            )
        if grid[0] >= 2**31 or max(grid[1:]) > 65535:
            raise LaunchError(f"{self.name}: a grid of {grid} blocks is too large")
        required, most = program.required_threads, program.most_threads
        if required and (*required, 1, 1)[:3] != block:
            raise LaunchError(f"{self.name}: a block of {block} threads, the kernel requires {required}")
        if most and threads > np.prod(most):
            raise LaunchError(f"{self.name}: a block of {block} threads, the kernel allows {most}")
        if shared_bytes and not program.has_dynamic_shared:
            raise LaunchError(f"{self.name}: {shared_bytes} bytes of dynamic shared memory, the kernel declares none")
        if not program.has_dynamic_shared and program.shared_bytes > STATIC_SHARED_BYTES:
            raise LaunchError(
                f"{self.name}: {program.shared_bytes} bytes of static shared memory; {STATIC_SHARED_BYTES} are possible"
            )
        if program.shared_bytes + shared_bytes > self.module.device.shared_memory:
            limit = self.module.device.shared_memory
            raise LaunchError(
                f"{self.name}: {program.shared_bytes + shared_bytes} bytes of shared memory; {limit} are possible"
            )

    def _pack(self, arguments: Sequence[Any] | bytes) -> bytes:
        program = self.program
        if isinstance(arguments, bytes | bytearray | memoryview):
            if len(arguments) != program.parameter_bytes:
                raise LaunchError(
                    f"{self.name}: {len(arguments)} bytes of arguments, the kernel takes {program.parameter_bytes}"
                )
            return bytes(arguments)
        if len(arguments) != len(program.parameters):
            raise LaunchError(f"{self.name}: {len(arguments)} arguments, the kernel takes {len(program.parameters)}")
        block = bytearray(program.parameter_bytes)
        for parameter, value in zip(program.parameters, arguments, strict=True):
            raw = _bytes_of(value, parameter.bytes)
            if len(raw) != parameter.bytes:
                raise LaunchError(f"{self.name}: {len(raw)} bytes for {parameter.name}, which has {parameter.bytes}")
            block[parameter.offset : parameter.offset + parameter.bytes] = raw
        return bytes(block)


def _bytes_of(value: Any, size: int) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tobytes()
    if isinstance(value, float):
        return struct.pack({2: "<e", 4: "<f", 8: "<d"}.get(size, "<d"), value)
    if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
        raise LaunchError(f"{value} does not fit a parameter of {size} bytes")
    return (int(value) & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _dimensions(given: Sequence[int], what: str) -> Dimensions:
    x, y, z = (*(int(number) for number in given), 1, 1)[:3]
    if min(x, y, z) < 1 or len(given) > 3:
        raise LaunchError(f"{what} dimensions {tuple(given)} are not one to three positive numbers")
    return x, y, z
