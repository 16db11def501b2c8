"""Functions and kernels given as IR: compiled and run on NumPy arrays, without the tensor front end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.llvm import lower
from lazytorch.codegen.math import expand_math
from lazytorch.codegen.target import Target, current_target
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Trait
from lazytorch.ir.dialects.tensor_transfer import transfer
from lazytorch.ir.loop_interpreter import Slot
from lazytorch.ir.printer import print_ir
from lazytorch.ir.trace import RECORDER, STATE, Node, leaf
from lazytorch.ir.types import INDEX, BufferType, Type
from lazytorch.runtime import session
from lazytorch.runtime.buffer import Buffer
from lazytorch.runtime.device import Device
from lazytorch.runtime.engine import engine
from lazytorch.runtime.planner import plan_function
from lazytorch.runtime.runner import NativeProgram, Step, runner


class _Leaf:
    """An argument or result of a function."""

    __slots__ = ("buffer", "type")

    def __init__(self, type: Any, array: np.ndarray | None = None) -> None:
        self.type = type
        self.buffer: Buffer | None = None
        if array is not None:
            self.buffer = Buffer(max(array.nbytes, 1))
            self.buffer.numpy(array.dtype, array.shape)[...] = array


def run_function(func: Operation, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Compile a function of tensor operations (which is taken apart for it) and run it; one array per result.

    The arrays have the arguments' shapes and storage types: ValueError otherwise. Raises IndexError for an index out of
    range.
    """
    leaves = [_Leaf(argument.type, array) for argument, array in zip(_checked(func, arrays), arrays, strict=True)]
    results = [_Leaf(value.type) for value in func.region.block.terminator.operands]
    text = print_ir(func, locations=True)
    plan_function(func, leaves, source=lambda: text).run(leaves, results, (), {})
    outcomes = []
    for result in results:
        assert result.buffer is not None
        outcomes.append(result.buffer.numpy(result.type.dtype.numpy, result.type.shape))
    return outcomes


def _checked(func: Operation, arrays: Sequence[np.ndarray]) -> Sequence[Value]:
    """The function's arguments. Raises ValueError for arrays that do not fit them."""
    arguments = func.region.block.arguments
    if len(arrays) != len(arguments):
        raise ValueError(f"the function takes {len(arguments)} arguments but is given {len(arrays)}")
    for position, (array, argument) in enumerate(zip(arrays, arguments, strict=True)):
        if array.dtype != argument.type.dtype.numpy or array.shape != argument.type.shape:
            raise ValueError(f"argument {position} should be {argument.type} but is {array.dtype}{list(array.shape)}")
    return arguments


def run_function_on(func: Operation, arrays: Sequence[np.ndarray], name: str) -> list[np.ndarray]:
    """Run a function of tensor operations on a device such as "cuda:0": its arguments go there, its results come back.

    Errors are those of `run_function` and of `Device.place`; ValueError for a function of kernels, which are for the CPU.
    """
    device = Device(name).place() or "cpu"
    values: dict[Value, Any] = dict(zip(func.region.block.arguments, _leaves_of(func, arrays), strict=True))
    for argument in func.region.block.arguments:
        values[argument] = transfer(values[argument], device=device)
    for operation in func.region.block:
        operands = [values[operand] for operand in operation.operands]
        if operation.has(Trait.TERMINATOR):
            break
        if operation.regions:
            raise ValueError(f"{operation.name} is made for the CPU; give the function before it is fused")
        operator = operation.operator
        if operation.has(Trait.CONSTANT):
            attributes = operator.attributes.as_dict()
            operator = operator.declaration.operator(**{**attributes, "type": attributes["type"].on(device)})
        made = RECORDER.emit(operator, operands)
        results = made if isinstance(made, tuple) else (made,)
        if not operands and not operation.has(Trait.CONSTANT):
            results = tuple([transfer(node, device=device) for node in results])
        values.update(zip(operation.results, results, strict=True))
    nodes = [transfer(node, device="cpu") for node in operands]
    session.synchronize(STATE.trace, nodes, "run_function_on")
    return [node.buffer.numpy(node.type.dtype.numpy, node.type.shape) for node in nodes]


def _leaves_of(func: Operation, arrays: Sequence[np.ndarray]) -> list[Node]:
    types = [argument.type for argument in _checked(func, arrays)]
    return [leaf(type, _Leaf(type, array).buffer) for type, array in zip(types, arrays, strict=True)]


def kernel_module_text(module: Operation, target: Target | GpuTarget) -> str:
    """The LLVM text of a module of kernels in loop form, whose math functions are expanded for it."""
    expand_math(module)
    return lower(module, target)


def run_kernel(module: Operation, symbol: str, slots: Sequence[Slot], chunks: int = 1) -> None:
    """Compile a module of kernels and run one; the arrays among the slots are read and written in place.

    Slots are those of `ir.loop_interpreter.interpret_kernel`. No access is checked: interpret the kernel first.
    """
    target = current_target()
    kernel = next((operation for operation in module.region.block if operation.attributes.name == symbol), None)
    if kernel is None:
        raise ValueError(f"the module has no kernel @{symbol}")
    types: list[Type] = []
    for argument in kernel.region.block.arguments:
        types.append(argument.type)
        if isinstance(argument.type, BufferType):
            types += [INDEX] * argument.type.dynamic_strides
    if len(slots) != len(types):
        raise ValueError(f"@{symbol} takes {len(types)} slots but is given {len(slots)}")
    words = [_word(slot, type) for slot, type in zip(slots, types, strict=True)]
    text = kernel_module_text(module, target)
    runner()  # kernels may call its functions
    loaded = engine().load(engine().compile(text, target), (symbol,))
    NativeProgram([Step(loaded[symbol], words, (), chunks, symbol)], keep=[loaded]).run()


def _word(slot: Slot, type: Type) -> int:
    """The 8 bytes of a slot, as the native argument block holds them."""
    memory, offset = slot if isinstance(slot, tuple) else (slot, 0)
    if isinstance(memory, np.ndarray):
        address: int = memory.ctypes.data + offset
        return address
    return int.from_bytes(np.asarray(memory, type.dtype.numpy).tobytes().ljust(8, b"\0"), "little")
