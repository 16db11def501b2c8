"""Lowering of memory access and vector registers."""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.llvm.emitter import (
    ELEMENT,
    FunctionEmitter,
    float_literal,
    lanes_of,
    llvm_type,
    lowering,
    memory_element,
    memory_type,
    suffix,
)
from lazytorch.dtypes import DType
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import loop
from lazytorch.ir.types import BufferType, Type, VectorType


def _alignment(dtype: DType, lanes: int, aligned: bool) -> int:
    return dtype.itemsize * lanes if aligned else dtype.itemsize


@lowering(loop.load)
def _load(f: FunctionEmitter, op: Operation) -> None:
    buffer, type = op.operands[0], op.result.type
    place = f.address(buffer, op.operands[1:])
    align = _alignment(type.dtype, lanes_of(type), op.attributes.aligned)
    f.names[op.result] = f.to_register(f.op(f"load {memory_type(type)}, {f.pointer(buffer)} {place}, align {align}"), type)


@lowering(loop.store)
def _store(f: FunctionEmitter, op: Operation) -> None:
    value, buffer, indices = op.operands[0], op.operands[1], op.operands[2:]
    type = value.type
    place = f.address(buffer, indices)
    align = _alignment(type.dtype, lanes_of(type), op.attributes.aligned)
    f.line(f"store {memory_type(type)} {f.to_memory(value)}, {f.pointer(buffer)} {place}, align {align}")


@lowering(loop.masked_load)
def _masked_load(f: FunctionEmitter, op: Operation) -> None:
    buffer, *indices, mask, other = op.operands
    type = op.result.type
    memory = memory_type(type)
    place = f.address(buffer, indices)
    loaded = f.intrinsic(
        f"llvm.masked.load.{_memory_suffix(type)}.p{f.space(buffer)}",
        memory,
        [
            (f.pointer(buffer), f"align {type.dtype.itemsize} {place}"),
            (llvm_type(mask.type), f[mask]),
            (memory, f.to_memory(other)),
        ],
    )
    f.names[op.result] = f.to_register(loaded, type)


def _memory_suffix(type: Type) -> str:
    assert isinstance(type, VectorType)
    return suffix(VectorType(dtypes.int8, type.lanes)) if type.dtype is dtypes.bool_ else suffix(type)


@lowering(loop.masked_store)
def _masked_store(f: FunctionEmitter, op: Operation) -> None:
    value, mask, buffer = op.operands[:3]
    place = f.address(buffer, op.operands[3:])
    f.intrinsic(
        f"llvm.masked.store.{_memory_suffix(value.type)}.p{f.space(buffer)}",
        "void",
        [
            (memory_type(value.type), f.to_memory(value)),
            (f.pointer(buffer), f"align {value.type.dtype.itemsize} {place}"),
            (llvm_type(mask.type), f[mask]),
        ],
    )


def _full_mask(f: FunctionEmitter, mask: Value) -> str:
    return f[mask]


def _lane_addresses(f: FunctionEmitter, buffer: Value, indices: Sequence[Value], lanes: int) -> str:
    """A vector of the addresses of `lanes` elements along the last index."""
    type = buffer.type
    assert isinstance(type, BufferType)
    base = f.address(buffer, indices)
    stride = f.strides[buffer][-1]
    steps = f.op(f"mul <{lanes} x i64> {_lane_numbers(lanes, 'i64')}, {_splat(f, str(stride), 'i64', lanes)}")
    return f.op(f"getelementptr {memory_element(type.dtype)}, {f.pointer(buffer)} {base}, <{lanes} x i64> {steps}")


def _lane_numbers(lanes: int, element: str) -> str:
    return "<" + ", ".join(f"{element} {lane}" for lane in range(lanes)) + ">"


def _splat(f: FunctionEmitter, name: str, element: str, lanes: int) -> str:
    first = f.op(f"insertelement <{lanes} x {element}> poison, {element} {name}, i64 0")
    vector = f"<{lanes} x {element}>"
    return f.op(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer")


def _gather(f: FunctionEmitter, op: Operation, places: str, mask: Value) -> None:
    buffer, type = op.operands[0], op.result.type
    memory = memory_type(type)
    lanes = lanes_of(type)
    loaded = f.intrinsic(
        f"llvm.masked.gather.{_memory_suffix(type)}.v{lanes}p{f.space(buffer)}",
        memory,
        [
            (f"<{lanes} x {f.pointer(buffer)}>", f"align {type.dtype.itemsize} {places}"),
            (llvm_type(mask.type), f[mask]),
            (memory, "zeroinitializer"),
        ],
    )
    f.names[op.result] = f.to_register(loaded, type)


@lowering(loop.strided_load)
def _strided_load(f: FunctionEmitter, op: Operation) -> None:
    buffer, mask = op.operands[0], op.operands[-1]
    _gather(f, op, _lane_addresses(f, buffer, op.operands[1:-1], lanes_of(op.result.type)), mask)


@lowering(loop.gather_load)
def _gather_load(f: FunctionEmitter, op: Operation) -> None:
    buffer, index, mask = op.operands
    element = memory_element(buffer.type.dtype)
    places = f.op(f"getelementptr {element}, {f.typed(buffer)}, {f.typed(index)}")
    _gather(f, op, places, mask)


@lowering(loop.strided_store)
def _strided_store(f: FunctionEmitter, op: Operation) -> None:
    value, mask, buffer = op.operands[:3]
    lanes = lanes_of(value.type)
    places = _lane_addresses(f, buffer, op.operands[3:], lanes)
    f.intrinsic(
        f"llvm.masked.scatter.{_memory_suffix(value.type)}.v{lanes}p{f.space(buffer)}",
        "void",
        [
            (memory_type(value.type), f.to_memory(value)),
            (f"<{lanes} x {f.pointer(buffer)}>", f"align {value.type.dtype.itemsize} {places}"),
            (llvm_type(mask.type), f[mask]),
        ],
    )


@lowering(loop.offset)
def _offset(f: FunctionEmitter, op: Operation) -> None:
    buffer = op.operands[0]
    f.same_memory(op.result, buffer, f.address(buffer, op.operands[1:]))
    f.strides[op.result] = f.strides[buffer]


@lowering(loop.flatten)
def _flatten(f: FunctionEmitter, op: Operation) -> None:
    f.same_memory(op.result, op.operands[0], f[op.operands[0]])
    f.strides[op.result] = (1,)


@lowering(loop.local)
def _local(f: FunctionEmitter, op: Operation) -> None:
    name = f.fresh("local")
    f.allocas.append(f"  {name} = alloca [{op.attributes.size} x {memory_element(op.attributes.dtype)}], align 64")
    f.names[op.result] = name
    f.strides[op.result] = (1,)


@lowering(loop.prefetch)
def _prefetch(f: FunctionEmitter, op: Operation) -> None:
    place = f.address(op.operands[0], op.operands[1:])
    write = int(op.attributes.write)
    f.module.declarations["declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)"] = None
    f.line(f"call void @llvm.prefetch.p0(ptr {place}, i32 {write}, i32 3, i32 1)")


@lowering(loop.fail)
def _fail(f: FunctionEmitter, op: Operation) -> None:
    """Through the runner's lt_fail: the first failure of a program wins, whatever thread it happens in."""
    status, code, detail, extent = op.operands
    f.intrinsic(
        "lt_fail",
        "void",
        [("ptr", f[status]), ("i64", f[code]), ("i64", f[detail]), ("i64", f[extent])],
    )


@lowering(loop.chunk_id)
def _chunk_id(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = "%chunk"


@lowering(loop.broadcast)
def _broadcast(f: FunctionEmitter, op: Operation) -> None:
    scalar = op.operands[0]
    f.names[op.result] = _splat(f, f[scalar], ELEMENT[scalar.type.dtype.name], op.attributes.lanes)


@lowering(loop.lane_ids)
def _lane_ids(f: FunctionEmitter, op: Operation) -> None:
    element = ELEMENT[op.attributes.dtype.name]
    if op.attributes.dtype.kind == "f":
        numbers = [f"{element} {float_literal(lane, op.attributes.dtype)}" for lane in range(op.attributes.lanes)]
        f.names[op.result] = "<" + ", ".join(numbers) + ">"
    else:
        f.names[op.result] = _lane_numbers(op.attributes.lanes, element)


@lowering(loop.extract)
def _extract(f: FunctionEmitter, op: Operation) -> None:
    f.set(op, f"extractelement {f.typed(op.operands[0])}, i64 {op.attributes.lane}")


@lowering(loop.shuffle)
def _shuffle(f: FunctionEmitter, op: Operation) -> None:
    lanes = op.attributes.lanes
    numbers = ", ".join(f"i32 {lane}" for lane in lanes)
    a, b = op.operands
    f.set(op, f"shufflevector {f.typed(a)}, {f.typed(b)}, <{len(lanes)} x i32> <{numbers}>")


@lowering(loop.mask)
def _mask(f: FunctionEmitter, op: Operation) -> None:
    lanes = op.attributes.lanes
    limit = _splat(f, f.op(f"trunc i64 {_clamped(f, f[op.operands[0]], lanes)} to i32"), "i32", lanes)
    f.set(op, f"icmp slt <{lanes} x i32> {_lane_numbers(lanes, 'i32')}, {limit}")


@lowering(loop.any_)
def _any(f: FunctionEmitter, op: Operation) -> None:
    flags = op.operands[0]
    text = llvm_type(flags.type)
    f.names[op.result] = f.intrinsic(f"llvm.vector.reduce.or.v{lanes_of(flags.type)}i1", "i1", [(text, f[flags])])


def _clamped(f: FunctionEmitter, name: str, lanes: int) -> str:
    """min(name, lanes): a remainder beyond 2**31 must not wrap when it is truncated."""
    return f.op(f"select i1 {f.op(f'icmp slt i64 {name}, {lanes}')}, i64 {name}, i64 {lanes}")
