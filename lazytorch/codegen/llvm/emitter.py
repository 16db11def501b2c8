"""Loop kernels to LLVM text: one rule per operation, explicit vectors, no fast-math flags, deterministic names."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lazytorch import dtypes
from lazytorch.codegen.gpu_target import GpuTarget
from lazytorch.codegen.target import Target
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import loop
from lazytorch.ir.types import BufferType, Type, VectorType

Rule = Callable[["FunctionEmitter", Operation], None]
RULES: dict[Declaration, Rule] = {}


def lowering(*declarations: Declaration, rules: dict[Declaration, Rule] = RULES) -> Callable[[Rule], Rule]:
    """Decorator: the rule that emits these operations. rules: a table of one kind of target's own."""

    def register(rule: Rule) -> Rule:
        for declaration in declarations:
            rules[declaration] = rule
        return rule

    return register


def lower_with(emitter: ModuleEmitter, kind: type[FunctionEmitter], module: Operation) -> str:
    """The LLVM text of a module of loop.function and loop.kernel operations (docs: loop.kernel for the calling form)."""
    for operation in module.region.block:
        emitter.functions[operation.attributes.name] = operation
    for operation in module.region.block:
        kind(emitter, operation).emit()
    return emitter.text()


ELEMENT = {
    "i1": "i1", "ui8": "i8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "ui32": "i32", "ui64": "i64",
    "f16": "half", "bf16": "i16", "f32": "float", "f64": "double", "index": "i64",
}  # fmt: skip


def llvm_type(type: Type) -> str:
    """The register type."""
    if isinstance(type, BufferType):
        return "ptr"
    element = ELEMENT[type.dtype.name]
    return f"<{type.lanes} x {element}>" if isinstance(type, VectorType) else element


def memory_element(dtype: DType) -> str:
    """The type of one element in memory: i1 is a byte there."""
    return "i8" if dtype is dtypes.bool_ else ELEMENT[dtype.name]


def lanes_of(type: Type) -> int:
    """1 for a scalar."""
    return type.lanes if isinstance(type, VectorType) else 1


def suffix(type: Type) -> str:
    """The overload suffix of an intrinsic: v16f32, i64."""
    dtype = type.dtype
    name = {"half": "f16", "float": "f32", "double": "f64"}.get(ELEMENT[dtype.name], ELEMENT[dtype.name])
    return f"v{type.lanes}{name}" if isinstance(type, VectorType) else name


def float_literal(value: float, dtype: DType) -> str:
    """The exact form LLVM reads."""
    if dtype is dtypes.float16:
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if dtype is dtypes.bfloat16:  # a pattern in an integer: LLVM calls a compiler's library for its own bfloat
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return str((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    if dtype is dtypes.float32:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def literal(value: Any, type: Type) -> str:
    """A constant of the type, in every lane."""
    dtype = type.dtype
    if dtype.kind == "f":
        text = float_literal(float(value), dtype)
    elif dtype is dtypes.bool_:
        text = "true" if value else "false"
    else:
        bits = 8 * dtype.itemsize
        number = int(value) & ((1 << bits) - 1)
        text = str(number - (1 << bits) if number >> (bits - 1) else number)
    if isinstance(type, VectorType):
        return f"splat ({ELEMENT[dtype.name]} {text})"
    return text


class ModuleEmitter:
    """What the functions of a module share: declarations and attributes."""

    def __init__(self, target: Target | GpuTarget) -> None:
        self.target = target
        self.functions: dict[str, Operation] = {}
        self.declarations: dict[str, None] = {}
        self.definitions: list[str] = []

    def text(self) -> str:
        """The whole module."""
        return "\n".join([*self.declarations, *self.definitions, self.attributes(), ""])

    def attributes(self) -> str:
        """The attributes of all functions."""
        width = self.target.vector_bits
        return f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" }}'


class FunctionEmitter:
    """Emits one function. `names` maps IR values to LLVM operands; buffers also have their strides, and the number of
    their address space where it is not the default one."""

    rules: ClassVar[Mapping[Declaration, Rule]] = RULES

    def __init__(self, module: ModuleEmitter, operation: Operation) -> None:
        self.module = module
        self.operation = operation
        self.names: dict[Value, str] = {}
        self.strides: dict[Value, tuple[str | int, ...]] = {}
        self.spaces: dict[Value, int] = {}
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.count = 0
        self.block = "entry"

    # -- text ------------------------------------------------------------

    def line(self, text: str) -> None:
        """One instruction."""
        self.lines.append("  " + text)

    def fresh(self, prefix: str = "v") -> str:
        """A new register name."""
        self.count += 1
        return f"%{prefix}{self.count}"

    def op(self, text: str) -> str:
        """An instruction with a result; its name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{name}:")
        self.block = name

    def intrinsic(self, name: str, result: str, arguments: Sequence[tuple[str, str]]) -> str:
        """Call a declared function; its result."""
        types = ", ".join(type for type, _ in arguments)
        self.module.declarations[f"declare {result} @{name}({types})"] = None
        call = f"call {result} @{name}(" + ", ".join(f"{type} {value}" for type, value in arguments) + ")"
        if result == "void":
            self.line(call)
            return ""
        return self.op(call)

    # -- values ------------------------------------------------------------

    def __getitem__(self, value: Value) -> str:
        return self.names[value]

    def typed(self, value: Value) -> str:
        """`float %v1`"""
        return f"{self.pointer(value) if isinstance(value.type, BufferType) else llvm_type(value.type)} {self.names[value]}"

    def space(self, buffer: Value) -> int:
        """The number of the address space that a buffer lies in."""
        return self.spaces.get(buffer, 0)

    def pointer(self, buffer: Value) -> str:
        """The type of a buffer's addresses."""
        space = self.space(buffer)
        return f"ptr addrspace({space})" if space else "ptr"

    def same_memory(self, result: Value, buffer: Value, name: str) -> None:
        """Bind a buffer that lies in the memory of another one."""
        self.names[result] = name
        self.spaces[result] = self.space(buffer)

    def set(self, operation: Operation, text: str) -> None:
        """Bind the operation's only result to an instruction."""
        self.names[operation.result] = self.op(text)

    def address(self, buffer: Value, indices: Sequence[Value]) -> str:
        """The address of an element."""
        type = buffer.type
        assert isinstance(type, BufferType)
        total = "0"
        for index, stride in zip(indices, self.strides[buffer], strict=True):
            name = self.names[index]
            if stride == 0 or name == "0":
                continue
            term = name if stride == 1 else self.op(f"mul nsw i64 {name}, {stride}")
            total = term if total == "0" else self.op(f"add nsw i64 {total}, {term}")
        if total == "0":
            return self.names[buffer]
        return self.op(f"getelementptr {memory_element(type.dtype)}, {self.typed(buffer)}, i64 {total}")

    def to_register(self, value: str, type: Type) -> str:
        """What was loaded, as the register type (bool bytes become i1)."""
        if type.dtype is not dtypes.bool_:
            return value
        return self.op(f"icmp ne {memory_type(type)} {value}, {zero(memory_type(type))}")

    def to_memory(self, value: Value) -> str:
        """A register value as it is stored."""
        if value.type.dtype is not dtypes.bool_:
            return self.names[value]
        return self.op(f"zext {llvm_type(value.type)} {self.names[value]} to {memory_type(value.type)}")

    # -- structure ------------------------------------------------------------

    def emit(self) -> None:
        """Emit the whole function into the module."""
        operation = self.operation
        kernel = operation.declaration is loop.kernel
        parameters = self._kernel_arguments() if kernel else self._function_parameters()
        self.body(operation.region.block)
        linkage, attributes = ("", "#0") if kernel else ("internal ", "noinline #0")
        self._define(f"{linkage}void @{operation.attributes.name}({parameters}) {attributes}")

    def _define(self, head: str) -> None:
        """Put the function together."""
        self.module.definitions.append("\n".join([f"define {head} {{", "entry:", *self.allocas, *self.lines, "}"]))

    def _kernel_arguments(self) -> str:
        slot = 0

        def read(type: str) -> str:
            nonlocal slot
            place = self.op(f"getelementptr i64, ptr %args, i64 {slot}") if slot else "%args"
            slot += 1
            return self.op(f"load {type}, ptr {place}, align {min(8, 8)}")

        for argument in self.operation.region.block.arguments:
            type = argument.type
            if isinstance(type, BufferType):
                self.names[argument] = read("ptr")
                self.strides[argument] = tuple([read("i64") if s is None else s for s in type.strides])
            else:
                self.names[argument] = read(llvm_type(type))
        return "ptr noalias %args, i64 %chunk, i64 %chunks"

    def _function_parameters(self) -> str:
        parameters = []
        for argument in self.operation.region.block.arguments:
            name = self.names[argument] = self.fresh("p")
            type = argument.type
            parameters.append(f"{llvm_type(type)} {name}")
            if isinstance(type, BufferType):
                strides: list[str | int] = []
                for stride in type.strides:
                    if stride is None:
                        strides.append(self.fresh("s"))
                        parameters.append(f"i64 {strides[-1]}")
                    else:
                        strides.append(stride)
                self.strides[argument] = tuple(strides)
        return ", ".join(parameters)

    def body(self, block: Block) -> list[Value]:
        """Emit a block; the operands of its terminator."""
        for operation in block:
            rule = self.rules.get(operation.declaration)
            if rule is None:
                raise CompileError(f"{operation.name} has no LLVM lowering", stage="llvm", location=operation.location)
            rule(self, operation)
        return list(block.terminator.operands)


def memory_type(type: Type) -> str:
    """The register type's form in memory."""
    element = memory_element(type.dtype)
    return f"<{type.lanes} x {element}>" if isinstance(type, VectorType) else element


def zero(text: str) -> str:
    """A zero of an LLVM type."""
    return "zeroinitializer" if text.startswith("<") else "0"
