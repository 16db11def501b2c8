"""Operations that put pieces into a larger result: pad, concat, insert_slice, and the copy that scatter begins with."""

from __future__ import annotations

from lazytorch.codegen.expression import Expression, Leaf, pull, tensor_type
from lazytorch.codegen.launch import Launch, ScheduleContext
from lazytorch.codegen.schedules.border import border_launch
from lazytorch.codegen.schedules.map import map_launch
from lazytorch.codegen.schedules.nest import Output
from lazytorch.codegen.target import Target
from lazytorch.codegen.views import Access, contiguous
from lazytorch.ir.core import Operation, Value


def copy_launch(source: Value, result: Value, place: Access, context: ScheduleContext, operation: Operation) -> list[Launch]:
    """Copy a whole value to a strided place in the result."""
    type = tensor_type(source)
    leaf = Leaf(source, type.dtype, contiguous(type.shape))
    expression = Expression(type.shape, [leaf], [("leaf", 0, type.dtype)], [0])
    launch = map_launch(expression, [Output(result, place)], context, [operation])
    return [launch] if launch is not None else []


def pad_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One pass where the operand's elements stay neighbours; else fill the result, then write the operand into it."""
    result = operation.result
    type = tensor_type(result)
    value = (
        type.dtype.numpy.type(operation.attributes.value).item()
        if type.dtype.kind != "f"
        else float(operation.attributes.value)
    )
    a = operation.attributes
    on_cpu = isinstance(context.target, Target)
    if on_cpu and not any(a.interior) and min((*a.low, *a.high), default=0) >= 0 and 0 not in type.shape:
        return [border_launch(operation, value, context)]
    expression = Expression(type.shape, [], [("constant", value, type.dtype)], [0])
    fill = map_launch(expression, [Output(result, contiguous(type.shape))], context, [operation])
    steps = tuple([interior + 1 for interior in a.interior])
    place = _place(type.shape, a.low, steps, tensor_type(operation.operands[0]).shape)
    launches = [fill] if fill is not None else []
    return launches + copy_launch(operation.operands[0], result, place, context, operation)


def insert_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """Copy the base, then write the slice."""
    base, value = operation.operands
    shape = tensor_type(base).shape
    a = operation.attributes
    place = _place(shape, a.starts, a.steps, tensor_type(value).shape)
    return copy_launch(base, operation.result, contiguous(shape), context, operation) + copy_launch(
        value, operation.result, place, context, operation
    )


def concat_launches(operation: Operation, context: ScheduleContext) -> list[Launch]:
    """One copy per piece, whatever views lie between it and its buffer."""
    result = operation.result
    shape = tensor_type(result).shape
    dim = operation.attributes.dim
    launches: list[Launch] = []
    at = 0
    for piece in operation.operands:
        size = tensor_type(piece).shape
        starts = tuple([at if d == dim else 0 for d in range(len(shape))])
        place = _place(shape, starts, (1,) * len(shape), size)
        launch = map_launch(pull([piece], size), [Output(result, place)], context, [operation])
        launches += [launch] if launch is not None else []
        at += size[dim]
    return launches


def _place(shape: tuple[int, ...], starts: tuple[int, ...], steps: tuple[int, ...], size: tuple[int, ...]) -> Access:
    strides = contiguous(shape).strides
    offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    return Access(size, tuple([stride * step for stride, step in zip(strides, steps, strict=True)]), offset)
