"""The rules of `loop` operations that inference alone does not check: memory accesses, bounds, masks, calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lazytorch import dtypes
from lazytorch.ir.core import Operation
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import loop
from lazytorch.ir.types import INDEX, BufferType, ScalarType, Type, VectorType

Check = Callable[[Operation, list[Type]], str | None]
"""The rule an operation (with these operand types) breaks, or None."""


def loop_rule_broken_by(operation: Operation, functions: dict[str, Operation]) -> str | None:
    """The rule that a loop operation breaks, or None. `functions` are those that a loop.call may name."""
    if operation.declaration is loop.call:
        return _check_call(operation, functions)
    check = _CHECKS.get(operation.declaration)
    return None if check is None else check(operation, [operand.type for operand in operation.operands])


def _check_call(operation: Operation, functions: dict[str, Operation]) -> str | None:
    callee = functions.get(operation.attributes.callee)
    if callee is None or callee.declaration is not loop.function:
        # without the module at hand (a kernel verified alone) callees are unknown
        return f"the module has no function @{operation.attributes.callee}" if functions else None
    due = [argument.type for argument in callee.region.block.arguments]
    actual = [operand.type for operand in operation.operands]
    return None if actual == due else f"@{operation.attributes.callee} takes {due} but is given {actual}"


def _indices(buffer: Type, indices: Sequence[Type], lanes: int, contiguous: bool) -> str | None:
    if not isinstance(buffer, BufferType):
        return f"expected a buffer but got {buffer}"
    if len(indices) != len(buffer.strides):
        return f"{buffer} takes {len(buffer.strides)} indices but is given {len(indices)}"
    wrong = [index for index in indices if index is not INDEX]
    if wrong:
        return f"indices must be of type index but one is {wrong[0]}"
    if contiguous and lanes > 1 and (not buffer.strides or buffer.strides[-1] != 1):
        return f"a vector access needs a last stride of 1 but the buffer is {buffer}"
    return None


def _register(value: Type, buffer: Type) -> str | None:
    if not isinstance(value, ScalarType | VectorType) or value.dtype is not buffer.dtype:
        return f"a {value} cannot be stored in {buffer}"
    return None


def _lanes(type: Type) -> int:
    return type.lanes if isinstance(type, VectorType) else 1


def _mask(mask: Type, lanes: int) -> str | None:
    if mask is VectorType(dtypes.bool_, lanes) or (lanes == 1 and mask is ScalarType(dtypes.bool_)):
        return None
    return f"the mask should be vector<{lanes}xi1> but is {mask}"


def _load(operation: Operation, types: list[Type]) -> str | None:
    return _indices(types[0], types[1:], operation.attributes.lanes, True)


def _masked_load(operation: Operation, types: list[Type]) -> str | None:
    lanes = operation.attributes.lanes
    other = types[-1]
    if other is not operation.results[0].type:
        return f"the value of masked-off lanes should be {operation.results[0].type} but is {other}"
    return _indices(types[0], types[1:-2], lanes, True) or _mask(types[-2], lanes)


def _store(operation: Operation, types: list[Type]) -> str | None:
    return _indices(types[1], types[2:], _lanes(types[0]), True) or _register(types[0], types[1])


def _masked_store(operation: Operation, types: list[Type]) -> str | None:
    lanes = _lanes(types[0])
    contiguous = operation.declaration is loop.masked_store
    broken = _indices(types[2], types[3:], lanes, contiguous)
    return broken or _mask(types[1], lanes) or _register(types[0], types[2])


def _strided_load(operation: Operation, types: list[Type]) -> str | None:
    lanes = operation.attributes.lanes
    return _indices(types[0], types[1:-1], lanes, False) or _mask(types[-1], lanes)


def _gather_load(operation: Operation, types: list[Type]) -> str | None:
    buffer, index, mask = types
    if not isinstance(buffer, BufferType) or len(buffer.strides) != 1:
        return f"expected a buffer of rank 1 but got {buffer}"
    if not isinstance(index, VectorType) or index.dtype not in (dtypes.int32, dtypes.int64):
        return f"positions should be a vector of i32 or i64 but are {index}"
    return _mask(mask, index.lanes)


def _offset(operation: Operation, types: list[Type]) -> str | None:
    return _indices(types[0], types[1:], 1, False)


def _bounds(operation: Operation, types: list[Type]) -> str | None:
    count = 2 if operation.declaration is loop.parallel else 3
    if len(types) < count or any(type is not INDEX for type in types[:count]):
        return "bounds and step should be of type index"
    if operation.declaration is loop.parallel and not _at_top_of_kernel(operation):
        return "is only allowed at the top level of a kernel"
    return None


def _at_top_of_kernel(operation: Operation) -> bool:
    region = operation.parent.parent if operation.parent is not None else None
    return region is not None and region.parent is not None and region.parent.declaration is loop.kernel


def _if(operation: Operation, types: list[Type]) -> str | None:
    return None if types[0] is ScalarType(dtypes.bool_) else f"the condition should be i1 but is {types[0]}"


def _extract(operation: Operation, types: list[Type]) -> str | None:
    lane = operation.attributes.lane
    if isinstance(types[0], VectorType) and 0 <= lane < types[0].lanes:
        return None
    return f"lane {lane} is not one of {types[0]}"


def _shuffle(operation: Operation, types: list[Type]) -> str | None:
    if types[0] is not types[1] or not isinstance(types[0], VectorType):
        return f"expected two equal vectors but got {types[0]} and {types[1]}"
    if any(not 0 <= lane < 2 * types[0].lanes for lane in operation.attributes.lanes):
        return f"lanes {operation.attributes.lanes} are not among those of two {types[0]}"
    return None


def _mask_of(operation: Operation, types: list[Type]) -> str | None:
    return None if types[0] is INDEX else f"expected an index but got {types[0]}"


def _any(operation: Operation, types: list[Type]) -> str | None:
    flags = isinstance(types[0], VectorType) and types[0].dtype is dtypes.bool_
    return None if flags else f"expected a vector of i1 but got {types[0]}"


def _fail(operation: Operation, types: list[Type]) -> str | None:
    if len(types) != 4 or not isinstance(types[0], BufferType) or types[0].dtype is not dtypes.int64:
        return "expected a buffer of i64 and three numbers"
    return None


_CHECKS: dict[Declaration, Check] = {
    loop.load: _load,
    loop.masked_load: _masked_load,
    loop.store: _store,
    loop.masked_store: _masked_store,
    loop.strided_load: _strided_load,
    loop.strided_store: _masked_store,
    loop.gather_load: _gather_load,
    loop.offset: _offset,
    loop.prefetch: _offset,
    loop.parallel: _bounds,
    loop.for_: _bounds,
    loop.if_: _if,
    loop.extract: _extract,
    loop.shuffle: _shuffle,
    loop.mask: _mask_of,
    loop.any_: _any,
    loop.fail: _fail,
}
