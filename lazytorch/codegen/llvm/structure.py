"""Lowering of loops, branches and calls."""

from __future__ import annotations

from lazytorch.codegen.llvm.emitter import (
    FunctionEmitter,
    llvm_type,
    lowering,
)
from lazytorch.ir.core import Block, Operation
from lazytorch.ir.dialects import loop
from lazytorch.ir.types import BufferType


@lowering(loop.return_)
def _return(f: FunctionEmitter, op: Operation) -> None:
    f.line("ret void")


@lowering(loop.yield_)
def _yield(f: FunctionEmitter, op: Operation) -> None:
    """Handled by the operation around it."""


@lowering(loop.parallel)
def _parallel(f: FunctionEmitter, op: Operation) -> None:
    low, high = f[op.operands[0]], f[op.operands[1]]
    size = f.op(f"sub nsw i64 {high}, {low}")
    first = f.op(f"udiv i64 {f.op(f'mul i64 {size}, %chunk')}, %chunks")
    following = f.op("add i64 %chunk, 1")
    last = f.op(f"udiv i64 {f.op(f'mul i64 {size}, {following}')}, %chunks")
    begin, end = f.op(f"add nsw i64 {low}, {first}"), f.op(f"add nsw i64 {low}, {last}")
    emit_loop(f, op.region.block, begin, end, "1", [])


@lowering(loop.for_)
def _for(f: FunctionEmitter, op: Operation) -> None:
    low, high, step = (f[value] for value in op.operands[:3])
    results = emit_loop(f, op.region.block, low, high, step, [f[value] for value in op.operands[3:]])
    for value, name in zip(op.results, results, strict=True):
        f.names[value] = name


def emit_loop(f: FunctionEmitter, block: Block, low: str, high: str, step: str, initial: list[str]) -> list[str]:
    """A counted loop around a block with carried values; their names after it."""
    f.count += 1
    number, before = f.count, f.block
    head, inside, latch, done = (f"{kind}{number}" for kind in ("head", "body", "latch", "done"))
    f.line(f"br label %{head}")
    f.label(head)
    index = f"%i{number}"
    f.line(f"{index} = phi i64 [{low}, %{before}], [{index}.next, %{latch}]")
    f.names[block.arguments[0]] = index
    at = len(f.lines)
    carried = [f"%c{number}.{position}" for position in range(len(initial))]
    f.lines += [""] * len(initial)
    for argument, name in zip(block.arguments[1:], carried, strict=True):
        f.names[argument] = name
    more = f.op(f"icmp slt i64 {index}, {high}")
    f.line(f"br i1 {more}, label %{inside}, label %{done}")
    f.label(inside)
    following = [f[value] for value in f.body(block)]
    f.line(f"br label %{latch}")
    f.label(latch)
    f.line(f"{index}.next = add nsw i64 {index}, {step}")
    f.line(f"br label %{head}")
    for position, argument in enumerate(block.arguments[1:]):
        f.lines[at + position] = (
            f"  {carried[position]} = phi {llvm_type(argument.type)} "
            f"[{initial[position]}, %{before}], [{following[position]}, %{latch}]"
        )
    f.label(done)
    return carried


@lowering(loop.if_)
def _if(f: FunctionEmitter, op: Operation) -> None:
    f.count += 1
    number = f.count
    f.line(f"br i1 {f[op.operands[0]]}, label %then{number}, label %else{number}")
    ends = []
    for kind, region in zip(("then", "else"), op.regions, strict=True):
        f.label(f"{kind}{number}")
        values = [f[value] for value in f.body(region.block)]
        ends.append((f.block, values))
        f.line(f"br label %end{number}")
    f.label(f"end{number}")
    for position, value in enumerate(op.results):
        pairs = ", ".join(f"[{values[position]}, %{block}]" for block, values in ends)
        f.names[value] = f.op(f"phi {llvm_type(value.type)} {pairs}")


@lowering(loop.call)
def _call(f: FunctionEmitter, op: Operation) -> None:
    arguments = []
    for value in op.operands:
        arguments.append(f.typed(value))
        if isinstance(value.type, BufferType):
            arguments += [
                f"i64 {name}" for stride, name in zip(value.type.strides, f.strides[value], strict=True) if stride is None
            ]
    f.line(f"call void @{op.attributes.callee}({', '.join(arguments)})")
