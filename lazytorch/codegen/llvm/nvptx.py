"""Loop kernels to LLVM text for NVPTX: the rules of codegen/llvm, with other ones for what a GPU does its own way.

A kernel's arguments are the 8-byte slots of its launch, passed as they are. `loop.parallel` is a grid-stride loop: thread t
of T takes the iterations t, t + T, ... What NVPTX cannot select (and LLVM then aborts the process for) is refused here.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import ClassVar

from lazytorch import dtypes
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.llvm.arithmetic import convert, lower_division
from lazytorch.codegen.llvm.emitter import (
    RULES,
    FunctionEmitter,
    ModuleEmitter,
    Rule,
    lanes_of,
    literal,
    llvm_type,
    lower_with,
    lowering,
    memory_element,
    suffix,
)
from lazytorch.codegen.llvm.structure import emit_loop
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, gpu, loop
from lazytorch.ir.types import BufferType, ScalarType

GPU_RULES: dict[Declaration, Rule] = {}
GLOBAL, SHARED = 1, 3
"""Address spaces."""
MOST_SLOTS = 500
"""8-byte arguments of a kernel: the driver takes 4 KiB."""
_READS = (loop.load, loop.masked_load, loop.strided_load, loop.gather_load, gpu.copy_async)


def lower_nvptx(module: Operation, target: GpuTarget) -> str:
    """The LLVM text of a module of kernels for a GPU."""
    return lower_with(_Module(target), _Function, module)


_SELECTED = re.compile(
    r"declare .*@llvm\.(nvvm\.|masked\.(load|store|gather|scatter)\.|vector\.reduce\.or\.|umin\.|abs\.|fabs\.|fma\.|sqrt\.|"
    r"floor\.|ceil\.|trunc\.|roundeven\.|copysign\.)"
)
"""The intrinsics that NVPTX selects for every type. For others (sin, exp, pow ...) LLVM ends the process."""


class _Module(ModuleEmitter):
    """A module for NVPTX."""

    def text(self) -> str:
        """The whole module. Raises CompileError for a function that no GPU has."""
        for declaration in self.declarations:
            if declaration.startswith("declare") and not _SELECTED.match(declaration):
                raise CompileError(f"NVPTX has no function for: {declaration}", stage="llvm")
        return super().text()

    def attributes(self) -> str:
        """No kernel is launched with more threads per block. One block per multiprocessor is enough to ask for: else ptxas
        spills registers for the sake of more."""
        assert isinstance(self.target, GpuTarget)
        return f'attributes #0 = {{ nounwind "nvvm.maxntid"="{self.target.block}" "nvvm.minctasm"="1" }}'


class _Function(FunctionEmitter):
    """A kernel for NVPTX."""

    rules: ClassVar[Mapping[Declaration, Rule]] = ChainMap(GPU_RULES, RULES)

    def emit(self) -> None:
        if self.operation.declaration is not loop.kernel:
            raise CompileError(f"@{self.operation.attributes.name}: a GPU kernel calls no functions", stage="llvm")
        parameters = self._parameters()
        self.body(self.operation.region.block)
        self._define(f"ptx_kernel void @{self.operation.attributes.name}({', '.join(parameters)}) #0")

    def _parameters(self) -> list[str]:
        """One 8-byte parameter per slot: addresses, run-time strides, sizes, and numbers in the low bytes."""
        parameters: list[str] = []

        def slot(type: str = "i64") -> str:
            name = f"%a{len(parameters)}"
            parameters.append(f"{type} {name}")
            return name

        for argument in self.operation.region.block.arguments:
            type = argument.type
            if isinstance(type, BufferType):
                self.spaces[argument] = GLOBAL
                constant = "noalias readonly " if _only_read(argument) else ""
                self.names[argument] = slot(f"ptr addrspace({GLOBAL}) {constant}align {type.dtype.itemsize}")
                self.strides[argument] = tuple([slot() if stride is None else stride for stride in type.strides])
            elif type.dtype.itemsize == 8:
                self.names[argument] = slot(llvm_type(type))
            else:
                raise CompileError(f"a GPU kernel takes no argument of type {type}", stage="llvm")
        if len(parameters) > MOST_SLOTS:
            raise NotImplementedError(f"a kernel of {len(parameters)} arguments is more than a GPU takes ({MOST_SLOTS})")
        return parameters

    def special(self, register: str) -> str:
        """A special register, as an index."""
        small = self.intrinsic(f"llvm.nvvm.read.ptx.sreg.{register}", "i32", [])
        return self.op(f"zext i32 {small} to i64")


def _only_read(buffer: Value) -> bool:
    """Whether a kernel does not write to a buffer."""
    return all(
        user.declaration in _READS or (user.declaration in (loop.offset, loop.flatten) and _only_read(user.result))
        for user in buffer.users
    )


@lowering(loop.parallel, rules=GPU_RULES)
def _parallel(f: FunctionEmitter, op: Operation) -> None:
    assert isinstance(f, _Function)
    threads, block = f.special("ntid.x"), f.special("ctaid.x")
    first = f.op(f"add nsw i64 {f.op(f'mul nsw i64 {block}, {threads}')}, {f.special('tid.x')}")
    step = f.op(f"mul nsw i64 {threads}, {f.special('nctaid.x')}")
    low, high = f[op.operands[0]], f[op.operands[1]]
    emit_loop(f, op.region.block, f.op(f"add nsw i64 {low}, {first}"), high, step, [])


@lowering(loop.fail, rules=GPU_RULES)
def _fail(f: FunctionEmitter, op: Operation) -> None:
    """The first failure of a launch wins; the runtime looks after the program."""
    status, code, detail, extent = op.operands
    f.count += 1
    number = f.count
    place = f.typed(status)
    exchange = f.op(f"cmpxchg {place}, i64 0, {f.typed(code)} monotonic monotonic, align 8")
    won = f.op(f"extractvalue {{ i64, i1 }} {exchange}, 1")
    f.line(f"br i1 {won}, label %tell{number}, label %told{number}")
    f.label(f"tell{number}")
    for word, value in enumerate((detail, extent), 1):
        f.line(f"store {f.typed(value)}, {f.pointer(status)} {f.op(f'getelementptr i64, {place}, i64 {word}')}, align 8")
    f.line(f"br label %told{number}")
    f.label(f"told{number}")


@lowering(loop.prefetch, rules=GPU_RULES)
def _prefetch(f: FunctionEmitter, op: Operation) -> None:
    """Warps hide latency themselves."""


@lowering(loop.call, loop.chunk_id, rules=GPU_RULES)
def _refused(f: FunctionEmitter, op: Operation) -> None:
    raise CompileError(f"{op.name} has no lowering for GPUs", stage="llvm", location=op.location)


@lowering(arith.remainder, rules=GPU_RULES)
def _remainder(f: FunctionEmitter, op: Operation) -> None:
    """NVPTX's own frem is wrong for large quotients."""
    type = op.result.type
    if type.dtype.kind != "f":
        lower_division(f, op)
        return
    wide = type if type.dtype.itemsize >= 4 else type.with_dtype(dtypes.float32)
    a, b = (convert(f, f[x], type, wide) for x in op.operands)
    lanes, text, scalar = lanes_of(wide), llvm_type(wide), ScalarType(wide.dtype)
    out = _float_remainder(f, scalar, a, b) if lanes == 1 else "poison"
    for lane in range(lanes if lanes > 1 else 0):
        x, y = (f.op(f"extractelement {text} {name}, i64 {lane}") for name in (a, b))
        found = _float_remainder(f, scalar, x, y)
        out = f.op(f"insertelement {text} {out}, {llvm_type(scalar)} {found}, i64 {lane}")
    f.names[op.result] = convert(f, out, wide, type)


def _float_remainder(f: FunctionEmitter, type: ScalarType, x: str, y: str) -> str:
    """x - trunc(x / y) * y, exactly: y times powers of two, from the largest that is not above what is left, is taken off.
    Every step is exact, because what is taken off is more than half of what is left."""
    text, zero, infinity = llvm_type(type), literal(0.0, type), literal(float("inf"), type)
    left, unit = (f.intrinsic(f"llvm.fabs.{suffix(type)}", text, [(text, name)]) for name in (x, y))
    defined = f.op(f"and i1 {f.op(f'fcmp olt {text} {left}, {infinity}')}, {f.op(f'fcmp ogt {text} {unit}, {zero}')}")
    enters = f.op(f"and i1 {f.op(f'fcmp oge {text} {left}, {unit}')}, {defined}")
    f.count += 1
    n, before = f.count, f.block
    loops = _REMAINDER.format(n=n, before=before, text=text, left=left, unit=unit, enters=enters, **_factors(type))
    f.lines += loops.splitlines()
    f.block = f"done{n}"
    signed = f.intrinsic(f"llvm.copysign.{suffix(type)}", text, [(text, f"%rest{n}"), (text, x)])
    return f.op(f"select i1 {defined}, {text} {signed}, {text} {literal(float('nan'), type)}")


def _factors(type: ScalarType) -> dict[str, str]:
    return {"half": literal(0.5, type), "two": literal(2.0, type)}


_REMAINDER = """\
  br i1 {enters}, label %up{n}, label %done{n}
up{n}:
  %t{n} = phi {text} [{unit}, %{before}], [%u{n}, %up{n}]
  %u{n} = fmul {text} %t{n}, {two}
  %h{n} = fmul {text} {left}, {half}
  %m{n} = fcmp ole {text} %t{n}, %h{n}
  br i1 %m{n}, label %up{n}, label %down{n}
down{n}:
  %r{n} = phi {text} [{left}, %up{n}], [%s{n}, %down{n}]
  %d{n} = phi {text} [%t{n}, %up{n}], [%e{n}, %down{n}]
  %g{n} = fcmp oge {text} %r{n}, %d{n}
  %q{n} = fsub {text} %r{n}, %d{n}
  %s{n} = select i1 %g{n}, {text} %q{n}, {text} %r{n}
  %e{n} = fmul {text} %d{n}, {half}
  %o{n} = fcmp oge {text} %e{n}, {unit}
  br i1 %o{n}, label %down{n}, label %done{n}
done{n}:
  %rest{n} = phi {text} [{left}, %{before}], [%s{n}, %down{n}]"""
"""The loops of a remainder: twice the divisor as often as it fits, and back."""


@lowering(arith.shift_left, arith.shift_right, rules=GPU_RULES)
def _shift(f: FunctionEmitter, op: Operation) -> None:
    """A shift by any amount, as two by half of it. LLVM takes a guarded one for PTX's own shift, which looks only at the low
    32 bits of an amount."""
    value, by = op.operands
    type, text = value.type, llvm_type(value.type)
    name = "shl" if op.declaration is arith.shift_left else "ashr" if type.dtype.kind == "i" else "lshr"
    bounds = [(text, f[by]), (text, literal(type.dtype.bits, type))]
    amount = f.intrinsic(f"llvm.umin.{suffix(type)}", text, bounds)  # a negative amount is a large one
    half = f.op(f"lshr {text} {amount}, {literal(1, type)}")
    first = f.op(f"{name} {f.typed(value)}, {half}")
    f.set(op, f"{name} {text} {first}, {f.op(f'sub {text} {amount}, {half}')}")


@lowering(gpu.thread_id, rules=GPU_RULES)
def _thread_id(f: FunctionEmitter, op: Operation) -> None:
    assert isinstance(f, _Function)
    f.names[op.result] = f.special("tid.x")


@lowering(gpu.block_id, rules=GPU_RULES)
def _block_id(f: FunctionEmitter, op: Operation) -> None:
    assert isinstance(f, _Function)
    f.names[op.result] = f.special("ctaid.x")


@lowering(gpu.grid_size, rules=GPU_RULES)
def _grid_size(f: FunctionEmitter, op: Operation) -> None:
    assert isinstance(f, _Function)
    f.names[op.result] = f.special("nctaid.x")


@lowering(gpu.barrier, rules=GPU_RULES)
def _barrier(f: FunctionEmitter, op: Operation) -> None:
    f.intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", "void", [("i32", "0")])


@lowering(gpu.shared, rules=GPU_RULES)
def _shared(f: FunctionEmitter, op: Operation) -> None:
    name = f"@shared{len(f.module.declarations)}"
    element = memory_element(op.attributes.dtype)
    f.module.declarations[
        f"{name} = internal addrspace({SHARED}) global [{op.attributes.size} x {element}] undef, align 16"
    ] = None
    f.names[op.result] = name
    f.spaces[op.result] = SHARED
    f.strides[op.result] = (1,)


@lowering(gpu.shuffle, rules=GPU_RULES)
def _shuffle(f: FunctionEmitter, op: Operation) -> None:
    _exchanged(f, op, "bfly", str(op.attributes.distance))


@lowering(gpu.broadcast, rules=GPU_RULES)
def _broadcast(f: FunctionEmitter, op: Operation) -> None:
    thread = f.intrinsic("llvm.nvvm.read.ptx.sreg.tid.x", "i32", [])
    _exchanged(f, op, "idx", f.op(f"and i32 {thread}, {gpu.WARP - op.attributes.width}"))


def _exchanged(f: FunctionEmitter, op: Operation, mode: str, lane: str) -> None:
    """A register of any type through the warp, in pieces of 32 bits."""
    value = op.operands[0]
    type, text = value.type, llvm_type(value.type)
    lanes = lanes_of(type)
    element = ScalarType(type.dtype)
    names = [f[value]] if lanes == 1 else [f.op(f"extractelement {text} {f[value]}, i64 {lane_}") for lane_ in range(lanes)]
    moved = [_moved(f, name, element, mode, lane) for name in names]
    if lanes == 1:
        f.names[op.result] = moved[0]
        return
    out = "poison"
    for number, name in enumerate(moved):
        out = f.op(f"insertelement {text} {out}, {llvm_type(element)} {name}, i64 {number}")
    f.names[op.result] = out


def _moved(f: FunctionEmitter, name: str, type: ScalarType, mode: str, lane: str) -> str:
    text, dtype = llvm_type(type), type.dtype
    integer = f"i{dtype.bits}"
    bits = name if text == integer else f.op(f"bitcast {text} {name} to {integer}")
    if dtype.bits == 64:
        halves = [f.op(f"trunc i64 {bits} to i32"), f.op(f"trunc i64 {f.op(f'lshr i64 {bits}, 32')} to i32")]
        low, high = (f.op(f"zext i32 {_word(f, half, mode, lane)} to i64") for half in halves)
        bits = f.op(f"or i64 {low}, {f.op(f'shl i64 {high}, 32')}")
    elif dtype.bits == 32:
        bits = _word(f, bits, mode, lane)
    else:
        word = _word(f, f.op(f"zext {integer} {bits} to i32"), mode, lane)
        bits = f.op(f"trunc i32 {word} to {integer}")
    return bits if text == integer else f.op(f"bitcast {integer} {bits} to {text}")


def _word(f: FunctionEmitter, name: str, mode: str, lane: str) -> str:
    arguments: Sequence[tuple[str, str]] = [("i32", "-1"), ("i32", name), ("i32", lane), ("i32", "31")]
    return f.intrinsic(f"llvm.nvvm.shfl.sync.{mode}.i32", "i32", arguments)
