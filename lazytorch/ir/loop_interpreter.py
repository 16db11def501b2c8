"""The reference interpreter of kernels: loops as Python loops, vectors as NumPy arrays, every memory access checked.

A kernel that reads or writes outside of its memory, or that depends on something undefined, is found here rather than
in native code. Scalars are NumPy scalars of their exact type (`index`: int64), so arithmetic rounds and wraps as
compiled code does; only `math` functions may differ in the last bit or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.interpreter import evaluate
from lazytorch.ir.types import BufferType, VectorType

Slot = np.ndarray | tuple[np.ndarray, int] | int | float
"""A buffer (contiguous array, or one with a byte offset), a stride or size, a number."""


def interpret_kernel(module: Operation, symbol: str, slots: Sequence[Slot], chunks: int = 1) -> None:
    """Run the loop.kernel named `symbol`; the arrays among the slots are read and written in place.

    Slots come in the order of the kernel's argument block: per buffer its memory and then one int for each of its
    run-time strides (in elements), per number the number. A memory is a contiguous array, of any dtype (its bytes are
    read as the buffer's), or (array, byte offset). With several chunks the parallel loops are divided among them and
    the chunks run one after the other.

    Raises IndexError naming the operation for an access outside of the memory, ValueError for slots that do not fit.
    """
    functions = {operation.attributes.name: operation for operation in module.region.block}
    kernel = functions.get(symbol)
    if kernel is None or kernel.declaration is not loop.kernel:
        raise ValueError(f"the module has no kernel @{symbol}")
    arguments = _bind(kernel, slots)
    for chunk in range(chunks):
        _Frame(functions, chunk, chunks).run(kernel.region.block, arguments)


@dataclass(frozen=True)
class Memory:
    """A buffer: flat elements, a stride per index, and where index 0 lies."""

    data: np.ndarray
    strides: tuple[int, ...]
    offset: int = 0

    def position(self, indices: Sequence[Any]) -> int:
        """The flat position of an element."""
        return self.offset + sum(int(i) * stride for i, stride in zip(indices, self.strides, strict=True))


def _bind(kernel: Operation, slots: Sequence[Slot]) -> list[Any]:
    """One value per kernel argument."""
    arguments: list[Any] = []
    remaining = iter(slots)
    try:
        for argument in kernel.region.block.arguments:
            slot = next(remaining)
            if isinstance(argument.type, BufferType):
                strides = [next(remaining) if stride is None else stride for stride in argument.type.strides]
                arguments.append(_memory(slot, argument.type, strides))
            else:
                if isinstance(slot, np.ndarray | tuple):
                    raise ValueError(f"kernel argument {argument} should be a number but is an array")
                arguments.append(argument.type.dtype.numpy.type(slot))
    except StopIteration:
        raise ValueError(f"@{kernel.attributes.name} takes more than the {len(slots)} slots given") from None
    if next(remaining, None) is not None:
        raise ValueError(f"@{kernel.attributes.name} takes fewer than the {len(slots)} slots given")
    return arguments


def _memory(slot: Slot, type: BufferType, strides: Sequence[Any]) -> Memory:
    array, offset = slot if isinstance(slot, tuple) else (slot, 0)
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise ValueError(f"a {type} should be given as a contiguous array")
    if not all(isinstance(stride, int | np.integer) for stride in strides):
        raise ValueError(f"the strides of a {type} should be ints but are {list(strides)}")
    data = array.reshape(-1).view(np.uint8)[offset:]
    whole = len(data) - len(data) % type.dtype.itemsize
    return Memory(data[:whole].view(type.dtype.numpy), tuple([int(stride) for stride in strides]))


class _Frame:
    """One call of a kernel or function: the values so far, its scratch memory, its chunk."""

    def __init__(self, functions: dict[str, Operation], chunk: int, chunks: int) -> None:
        self.values: dict[Value, Any] = {}
        self.functions = functions
        self.chunk = chunk
        self.chunks = chunks
        self.locals: dict[Operation, Memory] = {}

    def run(self, block: Block, arguments: Sequence[Any]) -> list[Any]:
        """Run a body; what its terminator yields."""
        values = self.values
        for argument, value in zip(block.arguments, arguments, strict=True):
            values[argument] = value
        for operation in block:
            operands = [values[operand] for operand in operation.operands]
            if operation.declaration in (loop.yield_, loop.return_):
                return operands
            step = _STEPS.get(operation.declaration)
            results = _arithmetic(operation, operands) if step is None else step(self, operation, operands)
            for result, value in zip(operation.results, results, strict=True):
                values[result] = value
        raise CompileError("a body has no terminator", stage="interpret")


Step = Callable[[_Frame, Operation, list[Any]], Sequence[Any]]
"""Run one operation with these operand values; its result values."""


def _arithmetic(operation: Operation, operands: Sequence[Any]) -> Sequence[Any]:
    if operation.declaration is arith.constant:
        type = operation.results[0].type
        shape = (type.lanes,) if isinstance(type, VectorType) else ()
        return [np.full(shape, operation.attributes.value, type.dtype.numpy)[()]]
    return [array[()] for array in evaluate(operation, operands)]


def _range(low: Any, high: Any, step: Any = 1) -> range:
    if step <= 0:
        raise CompileError(f"a loop has the step {step}", stage="interpret")
    return range(int(low), int(high), int(step))


def _parallel(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    indices = _range(*operands)
    first = len(indices) * frame.chunk // frame.chunks
    last = len(indices) * (frame.chunk + 1) // frame.chunks
    for index in indices[first:last]:
        frame.run(operation.region.block, [np.int64(index)])
    return ()


def _for(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    low, high, step, *carried = operands
    for index in _range(low, high, step):
        carried = frame.run(operation.region.block, [np.int64(index), *carried])
    return carried


def _if(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return frame.run(operation.regions[0 if operands[0] else 1].block, ())


def _call(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    callee = frame.functions[operation.attributes.callee]
    _Frame(frame.functions, frame.chunk, frame.chunks).run(callee.region.block, operands)
    return ()


def _positions(memory: Memory, indices: Sequence[Any], lanes: int, contiguous: bool) -> np.ndarray:
    """The flat positions of a vector access along the last index."""
    stride = 1 if contiguous or not memory.strides else memory.strides[-1]
    return memory.position(indices) + np.arange(lanes) * stride


def _checked(operation: Operation, memory: Memory, positions: np.ndarray, mask: Any = True) -> np.ndarray:
    """The positions, all within the memory where the mask holds (elsewhere 0)."""
    outside = mask & ((positions < 0) | (positions >= len(memory.data)))
    if np.any(outside):
        raise IndexError(
            f"{operation.name} of {operation.operands} touches element {positions[outside][0]} "
            f"of a buffer of {len(memory.data)} elements   [{operation.location}]"
        )
    return np.where(mask, positions, 0)


def _read(operation: Operation, memory: Memory, positions: np.ndarray, mask: Any, other: Any) -> Sequence[Any]:
    """The elements at the positions, `other` where the mask does not hold; a scalar for one position of a scalar."""
    positions = _checked(operation, memory, positions, mask)
    vector = np.full(len(positions), other, memory.data.dtype)
    active = np.broadcast_to(mask, vector.shape)
    vector[active] = memory.data[positions[active]]
    return [vector if isinstance(operation.results[0].type, VectorType) else vector[0]]


def _write(operation: Operation, memory: Memory, positions: np.ndarray, mask: Any, value: Any) -> Sequence[Any]:
    positions = _checked(operation, memory, positions, mask)
    active = np.broadcast_to(mask, positions.shape)
    memory.data[positions[active]] = np.broadcast_to(value, positions.shape)[active]
    return ()


def _load(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    memory, *indices = operands
    return _read(operation, memory, _positions(memory, indices, operation.attributes.lanes, True), True, 0)


def _masked_load(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    memory, *indices, mask, other = operands
    return _read(operation, memory, _positions(memory, indices, operation.attributes.lanes, True), mask, other)


def _strided_load(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    memory, *indices, mask = operands
    return _read(operation, memory, _positions(memory, indices, operation.attributes.lanes, False), mask, 0)


def _gather_load(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    memory, index, mask = operands
    return _read(operation, memory, memory.offset + index * memory.strides[0], mask, 0)


def _store(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    value, memory, *indices = operands
    return _write(operation, memory, _positions(memory, indices, np.size(value), True), True, value)


def _masked_store(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    value, mask, memory, *indices = operands
    contiguous = operation.declaration is loop.masked_store
    return _write(operation, memory, _positions(memory, indices, np.size(value), contiguous), mask, value)


def _offset(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    memory, *indices = operands
    return [Memory(memory.data, memory.strides, memory.position(indices))]


def _flatten(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [Memory(operands[0].data, (1,), operands[0].offset)]


def _local(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    """Scratch memory, filled with what is sure to spoil a result that depends on it: it is not initialized."""
    memory = frame.locals.get(operation)
    if memory is None:
        dtype = operation.attributes.dtype.numpy
        filled = np.full(operation.attributes.size * dtype.itemsize, 0xFF, np.uint8)
        memory = frame.locals[operation] = Memory(filled.view(dtype), (1,))
    return [memory]


def _broadcast(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.full(operation.attributes.lanes, operands[0], operation.results[0].type.dtype.numpy)]


def _lane_ids(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.arange(operation.attributes.lanes).astype(operation.attributes.dtype.numpy)]


def _extract(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [operands[0][operation.attributes.lane]]


def _shuffle(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.concatenate(operands)[list(operation.attributes.lanes)]]


def _mask(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.arange(operation.attributes.lanes) < operands[0]]


def _any(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.any(operands[0])]


def _prefetch(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return ()


def _fail(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    status, *numbers = operands
    words = _checked(operation, status, status.offset + np.arange(3))
    if status.data[words[0]] == 0:
        status.data[words] = numbers
    return ()


def _chunk_id(frame: _Frame, operation: Operation, operands: list[Any]) -> Sequence[Any]:
    return [np.int64(frame.chunk)]


_STEPS: dict[Declaration, Step] = {
    loop.parallel: _parallel,
    loop.for_: _for,
    loop.if_: _if,
    loop.call: _call,
    loop.load: _load,
    loop.masked_load: _masked_load,
    loop.strided_load: _strided_load,
    loop.gather_load: _gather_load,
    loop.store: _store,
    loop.masked_store: _masked_store,
    loop.strided_store: _masked_store,
    loop.offset: _offset,
    loop.flatten: _flatten,
    loop.local: _local,
    loop.broadcast: _broadcast,
    loop.lane_ids: _lane_ids,
    loop.extract: _extract,
    loop.shuffle: _shuffle,
    loop.mask: _mask,
    loop.any_: _any,
    loop.prefetch: _prefetch,
    loop.fail: _fail,
    loop.chunk_id: _chunk_id,
}
