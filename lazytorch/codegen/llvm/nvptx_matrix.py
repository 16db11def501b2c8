"""Lowering of what a warp of a GPU does together for matrix products: copies in the background, fragments, mma.

What an architecture lacks is refused here: LLVM would abort the process.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytorch import dtypes
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.llvm.emitter import FunctionEmitter, lanes_of, llvm_type, lowering, memory_element
from lazytorch.codegen.llvm.nvptx import GLOBAL, GPU_RULES, SHARED
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value
from lazytorch.ir.dialects import gpu

_WORDS = {dtypes.bfloat16: "i32", dtypes.float16: "<2 x half>", dtypes.float32: "i32"}
"""The type of a register of a fragment in LLVM's intrinsics."""
_PRODUCTS = {
    dtypes.bfloat16: "llvm.nvvm.mma.m16n8k16.row.col.bf16",
    dtypes.float16: "llvm.nvvm.mma.m16n8k16.row.col.f32.f32",
    dtypes.float32: "llvm.nvvm.mma.m16n8k8.row.col.tf32",
}
_SHORT_PRODUCT = "llvm.nvvm.mma.m16n8k8.row.col.f32.f32"
"""Of f16, half as deep: what sm_75 has."""


def _target(f: FunctionEmitter) -> GpuTarget:
    assert isinstance(f.module.target, GpuTarget)
    return f.module.target


def _needs(f: FunctionEmitter, op: Operation, available: bool) -> None:
    if not available:
        raise CompileError(f"{_target(f).name} has no {op.name}", stage="llvm", location=op.location)


@lowering(gpu.view, rules=GPU_RULES)
def _view(f: FunctionEmitter, op: Operation) -> None:
    f.same_memory(op.result, op.operands[0], f[op.operands[0]])
    f.strides[op.result] = (1,)


@lowering(gpu.warp_barrier, rules=GPU_RULES)
def _warp_barrier(f: FunctionEmitter, op: Operation) -> None:
    f.intrinsic("llvm.nvvm.bar.warp.sync", "void", [("i32", "-1")])


@lowering(gpu.copy_async, rules=GPU_RULES)
def _copy_async(f: FunctionEmitter, op: Operation) -> None:
    _needs(f, op, _target(f).copies_async)
    target, target_index, source, source_index, inside = op.operands
    nbytes = op.attributes.lanes * source.type.dtype.itemsize
    if nbytes not in (4, 8, 16) or f.space(target) != SHARED or f.space(source) != GLOBAL:
        raise CompileError(f"{op.name}: cannot copy {nbytes} bytes so", stage="llvm", location=op.location)
    count = f.op(f"select i1 {f[inside]}, i32 {nbytes}, i32 0")
    through = "cg" if nbytes == 16 else "ca"  # only whole 16 bytes can pass by the first cache
    to, come = f.address(target, [target_index]), f.address(source, [source_index])
    arguments = [(f.pointer(target), to), (f.pointer(source), come), ("i32", count)]
    f.intrinsic(f"llvm.nvvm.cp.async.{through}.shared.global.{nbytes}.s", "void", arguments)


@lowering(gpu.commit_copies, rules=GPU_RULES)
def _commit_copies(f: FunctionEmitter, op: Operation) -> None:
    _needs(f, op, _target(f).copies_async)
    f.intrinsic("llvm.nvvm.cp.async.commit.group", "void", [])


@lowering(gpu.wait_copies, rules=GPU_RULES)
def _wait_copies(f: FunctionEmitter, op: Operation) -> None:
    _needs(f, op, _target(f).copies_async)
    f.module.declarations["declare void @llvm.nvvm.cp.async.wait.group(i32 immarg)"] = None
    f.line(f"call void @llvm.nvvm.cp.async.wait.group(i32 {op.attributes.pending})")


@lowering(gpu.load_matrices, rules=GPU_RULES)
def _load_matrices(f: FunctionEmitter, op: Operation) -> None:
    buffer, index = op.operands
    dtype, transposed = buffer.type.dtype, op.attributes.transposed
    if dtype not in _WORDS or f.space(buffer) != SHARED or (transposed and dtype.itemsize != 2):
        raise CompileError(f"{op.name} cannot read {buffer.type}", stage="llvm", location=op.location)
    name = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.{'trans.' if transposed else ''}b16.p{SHARED}"
    words = f.intrinsic(name, "{ i32, i32, i32, i32 }", [(f.pointer(buffer), f.address(buffer, [index]))])
    packed = "poison"
    for number in range(4):
        word = f.op(f"extractvalue {{ i32, i32, i32, i32 }} {words}, {number}")
        packed = f.op(f"insertelement <4 x i32> {packed}, i32 {word}, i64 {number}")
    f.set(op, f"bitcast <4 x i32> {packed} to {llvm_type(op.result.type)}")


def _registers(f: FunctionEmitter, value: Value) -> list[str]:
    """A fragment in registers of 32 bits."""
    dtype = value.type.dtype
    count = lanes_of(value.type) * dtype.itemsize // 4
    words = f.op(f"bitcast {f.typed(value)} to <{count} x i32>")
    registers = [f.op(f"extractelement <{count} x i32> {words}, i64 {number}") for number in range(count)]
    if dtype is dtypes.float16:
        return [f.op(f"bitcast i32 {register} to <2 x half>") for register in registers]
    return registers


@lowering(gpu.multiply_matrices, rules=GPU_RULES)
def _multiply_matrices(f: FunctionEmitter, op: Operation) -> None:
    a, b, c = op.operands
    dtype = a.type.dtype
    _needs(f, op, dtype in _target(f).matrix_types)
    left, right = _registers(f, a), _registers(f, b)
    sums = [f.op(f"extractelement {f.typed(c)}, i64 {number}") for number in range(4)]
    if dtype is dtypes.float16 and not _target(f).copies_async:
        for half in range(2):
            sums = _product(f, _SHORT_PRODUCT, dtype, [*left[2 * half : 2 * half + 2], right[half]], sums)
    else:
        sums = _product(f, _PRODUCTS[dtype], dtype, [*left, *right], sums)
    out = "poison"
    for number, value in enumerate(sums):
        out = f.op(f"insertelement {llvm_type(c.type)} {out}, float {value}, i64 {number}")
    f.names[op.result] = out


def _product(f: FunctionEmitter, name: str, dtype: DType, fragments: Sequence[str], sums: Sequence[str]) -> list[str]:
    arguments = [(_WORDS[dtype], register) for register in fragments] + [("float", value) for value in sums]
    result = "{ float, float, float, float }"
    found = f.intrinsic(name, result, arguments)
    return [f.op(f"extractvalue {result} {found}, {number}") for number in range(4)]


@lowering(gpu.round_tf32, rules=GPU_RULES)
def _round_tf32(f: FunctionEmitter, op: Operation) -> None:
    _needs(f, op, _target(f).copies_async)
    value = op.operands[0]
    text, lanes = llvm_type(value.type), lanes_of(value.type)
    element = memory_element(value.type.dtype)
    out = "poison"
    for lane in range(lanes):
        number = f.op(f"extractelement {text} {f[value]}, i64 {lane}")
        bits = f.intrinsic("llvm.nvvm.f2tf32.rna", "i32", [(element, number)])
        out = f.op(f"insertelement {text} {out}, {element} {f.op(f'bitcast i32 {bits} to {element}')}, i64 {lane}")
    f.names[op.result] = out
