"""Sources of random numbers (torch.Generator): of the CPU, and of CUDA devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir import mersenne_twister, random_reference
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.trace import STATE, Trace, record_node
from lazytorch.ir.types import TensorType
from lazytorch.ops.recording import number_leaf
from lazytorch.runtime.device import Device
from lazytorch.runtime.session import synchronize
from lazytorch.tensor import Tensor, from_array

_BLOCK = 256  # threads of a block of torch's kernels that draw

DEFAULT_SEED = 67280421310721
COMPILED_FROM = 64
"""Numbers from which a kernel computes them: few are no work for the reference, and each number of them is planned once."""


def _compute(declaration: Declaration, bits: np.ndarray, first: float, second: float) -> np.ndarray:
    """Compute random numbers from bits at once, in a trace of their own: they have nothing to do with what is pending."""
    if bits.size < COMPILED_FROM:
        return random_reference.by_reference(declaration, bits, first, second)
    trace = Trace()
    parameters = [number_leaf(x, dtypes.float32) for x in (first, second)]
    source = from_array(bits, dtypes.uint32)
    node = record_node(trace, declaration.operator(), (source._node, *parameters))
    synchronize(trace, (node,), "random numbers")
    values: np.ndarray = node.buffer.numpy(np.float32, bits.shape)
    return values


class Generator:
    """A source of random numbers (torch.Generator): the Mersenne Twister with torch's seeding; of a CUDA device, a
    `DeviceGenerator`."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        if cls is Generator and Device(device).place() is not None:
            cls = DeviceGenerator
        return object.__new__(cls)

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self.state = mersenne_twister.from_seed(DEFAULT_SEED)
        self.first_seed = DEFAULT_SEED

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence that belongs to the seed."""
        self.state = mersenne_twister.from_seed(int(seed))
        self.first_seed = int(seed)
        return self

    def initial_seed(self) -> int:
        """The seed of the present sequence."""
        return self.first_seed

    def seed(self) -> int:
        """A new seed from the operating system."""
        seed = int.from_bytes(np.random.bytes(8), "little")
        self.manual_seed(seed)
        return seed

    def get_state(self) -> Tensor:
        """The state as torch's byte tensor."""
        return from_array(mersenne_twister.to_bytes(self.state), dtypes.uint8)

    def set_state(self, state: Tensor) -> Generator:
        """Continue from a state."""
        self.state = mersenne_twister.from_bytes(state.numpy())
        return self

    def uniform(self, count: int, dtype: DType, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Numbers of [low, high)."""
        return self.draw(random_reference.uniform, count, dtype, low, high, compute=_compute)

    def normal(self, count: int, dtype: DType, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
        """Normally distributed numbers."""
        return self.draw(random_reference.normal, count, dtype, mean, std, compute=_compute)

    def draw(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> np.ndarray:
        """Draw with a reference function, and advance."""
        for level in STATE.trace.levels:
            level.draws()
        observer = STATE.trace.observer
        if observer is not None and not observer.drawing:
            observer.refuse("random numbers are drawn that Python code looks at")
        values, self.state = function(self.state, *arguments, **keywords)
        array: np.ndarray = values
        return array


class DeviceGenerator(Generator):
    """A source of random numbers of a CUDA device: a seed, and how many numbers each thread has taken."""

    def __init__(self, device: Any = "cuda") -> None:
        name = Device(device).place()
        assert name is not None
        self.device = Device(name)
        self.first_seed, self.offset = DEFAULT_SEED, 0

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence that belongs to the seed."""
        self.first_seed, self.offset = int(seed) % (1 << 64), 0
        return self

    def get_offset(self) -> int:
        """How many numbers each thread has taken."""
        return self.offset

    def set_offset(self, offset: int) -> None:
        """Go to a place in the sequence, a multiple of 4."""
        if offset % 4:
            raise RuntimeError("offset must be a multiple of 4")
        self.offset = offset

    def get_state(self) -> Tensor:
        """Seed and offset as torch's 16 bytes."""
        words = np.array([self.first_seed, self.offset], np.uint64)
        return from_array(words.view(np.uint8), dtypes.uint8)

    def set_state(self, state: Tensor) -> Generator:
        """Continue from a state."""
        words = np.ascontiguousarray(state.numpy())
        if words.nbytes not in (8, 16):
            raise RuntimeError("RNG state is wrong size")
        seed, *offset = words.view(np.uint64).tolist()
        self.first_seed, self.offset = seed, offset[0] if offset else 0
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from the same state."""
        clone = DeviceGenerator(self.device)
        clone.first_seed, clone.offset = self.first_seed, self.offset
        return clone

    def draw(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> np.ndarray:
        """Draw on the host, from a sequence that the next number of this one begins."""
        from lazytorch.ir.dialects import philox  # what belongs to GPUs is loaded when one is used

        seed, counter, threads = self.take(1, 4)
        reference = philox.bits.reference
        assert reference is not None
        operator = philox.bits.operator(type=TensorType(dtypes.uint64, (1,)), vector=1)
        (bits,) = reference(operator.attributes, *[np.int64(x) for x in (seed, counter, threads)])
        return Generator().manual_seed(int(bits)).draw(function, *arguments, **keywords)

    def _threads(self, count: int) -> int:
        """Of torch's launch for so many numbers."""
        from lazytorch.runtime.cuda.device import device_named

        driver = device_named(str(self.device)).driver
        most = driver.processors * (driver.threads_per_processor // _BLOCK)
        return _BLOCK * min(most, -(-count // _BLOCK))

    def take(self, count: int, per_counter: int) -> tuple[int, int, int]:
        """Seed, first counter and threads for so many numbers, which are taken."""
        threads = self._threads(count)
        counter = self.offset // 4
        self.offset += 4 * ((count - 1) // (threads * per_counter) + 1)
        return self.signed_seed(), counter, threads

    def signed_seed(self) -> int:
        """The seed as a number of 64 bits with a sign."""
        return self.first_seed - (1 << 64) if self.first_seed >> 63 else self.first_seed
