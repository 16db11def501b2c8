"""Loop kernels to LLVM text: one rule per operation, explicit vectors, no fast-math flags, deterministic names."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.codegen.target import Target
from lazytorch.dtypes import DType
from lazytorch.errors import CompileError
from lazytorch.ir.core import Block, Operation, Value
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import arith, loop
from lazytorch.ir.types import BufferType, ScalarType, Type, VectorType

Rule = Callable[["FunctionEmitter", Operation], None]
_RULES: dict[Declaration, Rule] = {}


def lowering(*declarations: Declaration) -> Callable[[Rule], Rule]:
    """Decorator: the rule that emits these operations."""

    def register(rule: Rule) -> Rule:
        for declaration in declarations:
            _RULES[declaration] = rule
        return rule

    return register


def lower(module: Operation, target: Target) -> str:
    """The LLVM text of a module of loop.function and loop.kernel operations (docs: loop.kernel for the calling form)."""
    emitter = ModuleEmitter(target)
    for operation in module.region.block:
        emitter.functions[operation.attributes.name] = operation
    for operation in module.region.block:
        FunctionEmitter(emitter, operation).emit()
    return emitter.text()


ELEMENT = {
    "i1": "i1", "ui8": "i8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "ui32": "i32", "ui64": "i64",
    "f16": "half", "bf16": "bfloat", "f32": "float", "f64": "double", "index": "i64",
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
    name = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64"}.get(
        ELEMENT[dtype.name], ELEMENT[dtype.name]
    )
    return f"v{type.lanes}{name}" if isinstance(type, VectorType) else name


def float_literal(value: float, dtype: DType) -> str:
    """The exact hexadecimal form LLVM reads."""
    if dtype is dtypes.float16:
        return "0xH%04X" % struct.unpack("<H", struct.pack("<e", value))[0]
    if dtype is dtypes.bfloat16:
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return "0xR%04X" % ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    if dtype is dtypes.float32:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return "0x%016X" % struct.unpack("<Q", struct.pack("<d", value))[0]


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

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: dict[str, Operation] = {}
        self.declarations: dict[str, None] = {}
        self.definitions: list[str] = []

    def text(self) -> str:
        """The whole module."""
        width = self.target.vector_bits
        attributes = (
            f'attributes #0 = {{ nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" }}'
        )
        return "\n".join([*self.declarations, *self.definitions, attributes, ""])


class FunctionEmitter:
    """Emits one function. `names` maps IR values to LLVM operands; buffers also have their strides."""

    def __init__(self, module: ModuleEmitter, operation: Operation) -> None:
        self.module = module
        self.operation = operation
        self.names: dict[Value, str] = {}
        self.strides: dict[Value, tuple[str | int, ...]] = {}
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.count = 0
        self.block = "entry"

    # -- text --------------------------------------------------------------------------------------------------------

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

    # -- values ------------------------------------------------------------------------------------------------------

    def __getitem__(self, value: Value) -> str:
        return self.names[value]

    def typed(self, value: Value) -> str:
        """`float %v1`"""
        return f"{llvm_type(value.type)} {self.names[value]}"

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
        return self.op(f"getelementptr {memory_element(type.dtype)}, ptr {self.names[buffer]}, i64 {total}")

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

    # -- structure -----------------------------------------------------------------------------------------------------

    def emit(self) -> None:
        """Emit the whole function into the module."""
        operation = self.operation
        kernel = operation.declaration is loop.kernel
        parameters = self._kernel_arguments() if kernel else self._function_parameters()
        self.body(operation.region.block)
        linkage, attributes = ("", "#0") if kernel else ("internal ", "noinline #0")
        head = f"define {linkage}void @{operation.attributes.name}({parameters}) {attributes} {{"
        self.module.definitions.append("\n".join([head, "entry:", *self.allocas, *self.lines, "}"]))

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
            rule = _RULES.get(operation.declaration)
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
    _emit_loop(f, op.region.block, begin, end, "1", [])


@lowering(loop.for_)
def _for(f: FunctionEmitter, op: Operation) -> None:
    low, high, step = (f[value] for value in op.operands[:3])
    results = _emit_loop(f, op.region.block, low, high, step, [f[value] for value in op.operands[3:]])
    for value, name in zip(op.results, results, strict=True):
        f.names[value] = name


def _emit_loop(f: FunctionEmitter, block: Block, low: str, high: str, step: str, initial: list[str]) -> list[str]:
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
                f"i64 {name}"
                for stride, name in zip(value.type.strides, f.strides[value], strict=True)
                if stride is None
            ]
    f.line(f"call void @{op.attributes.callee}({', '.join(arguments)})")


# -- memory --------------------------------------------------------------------------------------------------------------


def _alignment(dtype: DType, lanes: int, aligned: bool) -> int:
    return dtype.itemsize * lanes if aligned else dtype.itemsize


@lowering(loop.load)
def _load(f: FunctionEmitter, op: Operation) -> None:
    buffer, type = op.operands[0], op.result.type
    place = f.address(buffer, op.operands[1:])
    align = _alignment(type.dtype, lanes_of(type), op.attributes.aligned)
    f.names[op.result] = f.to_register(f.op(f"load {memory_type(type)}, ptr {place}, align {align}"), type)


@lowering(loop.store)
def _store(f: FunctionEmitter, op: Operation) -> None:
    value, buffer, indices = op.operands[0], op.operands[1], op.operands[2:]
    type = value.type
    place = f.address(buffer, indices)
    align = _alignment(type.dtype, lanes_of(type), op.attributes.aligned)
    f.line(f"store {memory_type(type)} {f.to_memory(value)}, ptr {place}, align {align}")


@lowering(loop.masked_load)
def _masked_load(f: FunctionEmitter, op: Operation) -> None:
    *_, mask, other = op.operands
    type = op.result.type
    memory = memory_type(type)
    place = f.address(op.operands[0], op.operands[1:-2])
    loaded = f.intrinsic(
        f"llvm.masked.load.{_memory_suffix(type)}.p0",
        memory,
        [
            ("ptr", f"align {type.dtype.itemsize} {place}"),
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
        f"llvm.masked.store.{_memory_suffix(value.type)}.p0",
        "void",
        [
            (memory_type(value.type), f.to_memory(value)),
            ("ptr", f"align {value.type.dtype.itemsize} {place}"),
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
    return f.op(f"getelementptr {memory_element(type.dtype)}, ptr {base}, <{lanes} x i64> {steps}")


def _lane_numbers(lanes: int, element: str) -> str:
    return "<" + ", ".join(f"{element} {lane}" for lane in range(lanes)) + ">"


def _splat(f: FunctionEmitter, name: str, element: str, lanes: int) -> str:
    first = f.op(f"insertelement <{lanes} x {element}> poison, {element} {name}, i64 0")
    vector = f"<{lanes} x {element}>"
    return f.op(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer")


def _gather(f: FunctionEmitter, op: Operation, places: str, mask: Value) -> None:
    type = op.result.type
    memory = memory_type(type)
    lanes = lanes_of(type)
    loaded = f.intrinsic(
        f"llvm.masked.gather.{_memory_suffix(type)}.v{lanes}p0",
        memory,
        [
            (f"<{lanes} x ptr>", f"align {type.dtype.itemsize} {places}"),
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
    lanes = lanes_of(index.type)
    element = memory_element(buffer.type.dtype)
    places = f.op(f"getelementptr {element}, ptr {f[buffer]}, <{lanes} x i64> {f[index]}")
    _gather(f, op, places, mask)


@lowering(loop.strided_store)
def _strided_store(f: FunctionEmitter, op: Operation) -> None:
    value, mask, buffer = op.operands[:3]
    lanes = lanes_of(value.type)
    places = _lane_addresses(f, buffer, op.operands[3:], lanes)
    f.intrinsic(
        f"llvm.masked.scatter.{_memory_suffix(value.type)}.v{lanes}p0",
        "void",
        [
            (memory_type(value.type), f.to_memory(value)),
            (f"<{lanes} x ptr>", f"align {value.type.dtype.itemsize} {places}"),
            (llvm_type(mask.type), f[mask]),
        ],
    )


@lowering(loop.offset)
def _offset(f: FunctionEmitter, op: Operation) -> None:
    buffer = op.operands[0]
    f.names[op.result] = f.address(buffer, op.operands[1:])
    f.strides[op.result] = f.strides[buffer]


@lowering(loop.flatten)
def _flatten(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = f[op.operands[0]]
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


# -- vectors -------------------------------------------------------------------------------------------------------------


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


def _clamped(f: FunctionEmitter, name: str, lanes: int) -> str:
    """min(name, lanes): a remainder beyond 2**31 must not wrap when it is truncated."""
    return f.op(f"select i1 {f.op(f'icmp slt i64 {name}, {lanes}')}, i64 {name}, i64 {lanes}")


# -- arithmetic ----------------------------------------------------------------------------------------------------------


@lowering(arith.constant)
def _constant(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = literal(op.attributes.value, op.result.type)


_FLOAT = {arith.add: "fadd", arith.sub: "fsub", arith.mul: "fmul", arith.div: "fdiv"}
_INTEGER = {
    arith.add: "add",
    arith.sub: "sub",
    arith.mul: "mul",
    arith.bit_and: "and",
    arith.bit_or: "or",
    arith.bit_xor: "xor",
    arith.shift_left: "shl",
}


@lowering(arith.add, arith.sub, arith.mul, arith.bit_and, arith.bit_or, arith.bit_xor, arith.shift_left)
def _binary(f: FunctionEmitter, op: Operation) -> None:
    kind = op.result.type.dtype.kind
    a, b = (f[x] for x in op.operands)
    if kind == "f":
        f.names[op.result] = float_operation(f, op.result.type, _FLOAT[op.declaration], a, b)
        return
    if kind == "b":
        name = {"add": "or", "sub": "xor", "mul": "and"}.get(_INTEGER[op.declaration], _INTEGER[op.declaration])
    else:
        name = _INTEGER[op.declaration] + (" nsw" if kind == "x" else "")
    f.set(op, f"{name} {llvm_type(op.result.type)} {a}, {b}")


def float_operation(f: FunctionEmitter, type: Type, name: str, *operands: str) -> str:
    """A floating operation. f16 and bf16 compute in f32 and round after each one: that is their definition here."""
    if type.dtype.itemsize >= 4:
        return f.op(f"{name} {llvm_type(type)} {', '.join(operands)}")
    wide = type.with_dtype(dtypes.float32)
    extended = [f.op(f"fpext {llvm_type(type)} {x} to {llvm_type(wide)}") for x in operands]
    result = f.op(f"{name} {llvm_type(wide)} {', '.join(extended)}")
    return f.op(f"fptrunc {llvm_type(wide)} {result} to {llvm_type(type)}")


@lowering(arith.div, arith.remainder)
def _divide(f: FunctionEmitter, op: Operation) -> None:
    type = op.result.type
    a, b = (f[x] for x in op.operands)
    kind = type.dtype.kind
    quotient = op.declaration is arith.div
    if kind == "f":
        f.names[op.result] = float_operation(f, type, "fdiv" if quotient else "frem", a, b)
        return
    name = {"x": ("udiv", "urem"), "u": ("udiv", "urem"), "b": ("udiv", "urem")}.get(kind, ("sdiv", "srem"))
    if kind == "i":
        # The machine traps on x / 0 and on the smallest number / -1: torch's result is 0-ish garbage or an error there.
        text = llvm_type(type)
        one, minus = literal(1, type), literal(-1, type)
        is_zero = f.op(f"icmp eq {text} {b}, {literal(0, type)}")
        is_minus = f.op(f"icmp eq {text} {b}, {minus}")
        bool_text = llvm_type(type.with_dtype(dtypes.bool_))
        unsafe = f.op(f"or {bool_text} {is_zero}, {is_minus}")
        safe = f.op(f"select {bool_text} {unsafe}, {text} {one}, {text} {b}")
        plain = f.op(f"{name[0 if quotient else 1]} {text} {a}, {safe}")
        negated = f.op(f"sub {text} {literal(0, type)}, {a}")
        special = negated if quotient else literal(0, type)
        f.set(op, f"select {bool_text} {is_minus}, {text} {special}, {text} {plain}")
        return
    f.set(op, f"{name[0 if quotient else 1]} {llvm_type(type)} {a}, {b}")


@lowering(arith.neg)
def _neg(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    if x.type.dtype.kind == "f":
        f.set(op, f"fneg {f.typed(x)}")
    else:
        f.set(op, f"sub {llvm_type(x.type)} {literal(0, x.type)}, {f[x]}")


_UNARY = {
    arith.floor: "llvm.floor",
    arith.ceil: "llvm.ceil",
    arith.trunc: "llvm.trunc",
    arith.round_even: "llvm.roundeven",
    arith.sqrt: "llvm.sqrt",
    arith.abs_: "llvm.fabs",
}


@lowering(*_UNARY)
def _unary(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    type = x.type
    text = llvm_type(type)
    if type.dtype.kind != "f":
        if op.declaration is arith.abs_ and type.dtype.kind == "i":
            f.names[op.result] = f.intrinsic(f"llvm.abs.{suffix(type)}", text, [(text, f[x]), ("i1", "false")])
        else:
            f.names[op.result] = f[x]
        return
    f.names[op.result] = wide_intrinsic(f, _UNARY[op.declaration], type, [f[x]])


def wide_intrinsic(f: FunctionEmitter, name: str, type: Type, operands: Sequence[str]) -> str:
    """A floating intrinsic; narrow types go through f32."""
    if type.dtype.itemsize >= 4:
        text = llvm_type(type)
        return f.intrinsic(f"{name}.{suffix(type)}", text, [(text, x) for x in operands])
    wide = type.with_dtype(dtypes.float32)
    extended = [f.op(f"fpext {llvm_type(type)} {x} to {llvm_type(wide)}") for x in operands]
    result = wide_intrinsic(f, name, wide, extended)
    return f.op(f"fptrunc {llvm_type(wide)} {result} to {llvm_type(type)}")


@lowering(arith.fma)
def _fma(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = wide_intrinsic(f, "llvm.fma", op.result.type, [f[x] for x in op.operands])


@lowering(arith.copysign)
def _copysign(f: FunctionEmitter, op: Operation) -> None:
    f.names[op.result] = wide_intrinsic(f, "llvm.copysign", op.result.type, [f[x] for x in op.operands])


@lowering(arith.sign)
def _sign(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    type, text = x.type, llvm_type(x.type)
    flag = llvm_type(type.with_dtype(dtypes.bool_))
    if type.dtype.kind == "b":
        f.names[op.result] = f[x]
        return
    nothing = literal(0, type)
    if type.dtype.kind == "f":
        above, below = (f.op(f"fcmp {p} {text} {f[x]}, {nothing}") for p in ("ogt", "olt"))
        unordered = f.op(f"fcmp uno {text} {f[x]}, {f[x]}")
        rest = f.op(f"select {flag} {unordered}, {text} {f[x]}, {text} {nothing}")
    else:
        above = f.op(f"icmp {'ugt' if type.dtype.kind == 'u' else 'sgt'} {text} {f[x]}, {nothing}")
        below = (
            f.op(f"icmp slt {text} {f[x]}, {nothing}")
            if type.dtype.kind == "i"
            else literal(False, type.with_dtype(dtypes.bool_))
        )
        rest = nothing
    lower_part = f.op(f"select {flag} {below}, {text} {literal(-1, type)}, {text} {rest}")
    f.set(op, f"select {flag} {above}, {text} {literal(1, type)}, {text} {lower_part}")


@lowering(arith.maximum, arith.minimum)
def _extreme(f: FunctionEmitter, op: Operation) -> None:
    a, b = op.operands
    type, text = a.type, llvm_type(a.type)
    flag = llvm_type(type.with_dtype(dtypes.bool_))
    largest = op.declaration is arith.maximum
    kind = type.dtype.kind
    if kind != "f":
        signed = "u" if kind in "ub" else "s"
        chosen = f.op(f"icmp {signed}{'gt' if largest else 'lt'} {text} {f[a]}, {f[b]}")
        f.set(op, f"select {flag} {chosen}, {text} {f[a]}, {text} {f[b]}")
        return
    # b if b is beyond a or nan, else a; a nan in a stays because every ordered comparison with it is false
    beyond = f.op(f"fcmp {'ogt' if largest else 'olt'} {text} {f[b]}, {f[a]}")
    nan = f.op(f"fcmp uno {text} {f[b]}, {f[b]}")
    take = f.op(f"or {flag} {beyond}, {nan}")
    f.set(op, f"select {flag} {take}, {text} {f[b]}, {text} {f[a]}")


@lowering(arith.bit_not)
def _not(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    f.set(op, f"xor {f.typed(x)}, {literal(-1 if x.type.dtype is not dtypes.bool_ else True, x.type)}")


@lowering(arith.shift_right)
def _shift_right(f: FunctionEmitter, op: Operation) -> None:
    a, b = op.operands
    f.set(op, f"{'ashr' if a.type.dtype.kind == 'i' else 'lshr'} {f.typed(a)}, {f[b]}")


@lowering(arith.compare)
def _compare(f: FunctionEmitter, op: Operation) -> None:
    a, b = op.operands
    predicate = op.attributes.predicate
    kind = a.type.dtype.kind
    if kind == "f":
        f.set(op, f"fcmp {'une' if predicate == 'ne' else 'o' + predicate} {f.typed(a)}, {f[b]}")
    else:
        signed = "" if predicate in ("eq", "ne") else "u" if kind in "ub" else "s"
        f.set(op, f"icmp {signed}{predicate} {f.typed(a)}, {f[b]}")


@lowering(arith.select)
def _select(f: FunctionEmitter, op: Operation) -> None:
    condition, a, b = op.operands
    f.set(op, f"select {f.typed(condition)}, {f.typed(a)}, {f.typed(b)}")


@lowering(arith.bitcast)
def _bitcast(f: FunctionEmitter, op: Operation) -> None:
    x = op.operands[0]
    if llvm_type(x.type) == llvm_type(op.result.type):
        f.names[op.result] = f[x]
    else:
        f.set(op, f"bitcast {f.typed(x)} to {llvm_type(op.result.type)}")


@lowering(arith.cast)
def _cast(f: FunctionEmitter, op: Operation) -> None:
    x, type = op.operands[0], op.result.type
    f.names[op.result] = convert(f, f[x], x.type, type)


def convert(f: FunctionEmitter, name: str, source: Type, target: Type) -> str:
    """Conversion by value."""
    a, b = source.dtype, target.dtype
    before, after = llvm_type(source), llvm_type(target)
    if a is b:
        return name
    if b is dtypes.bool_:
        if a.kind == "f":
            return f.op(f"fcmp une {before} {name}, {literal(0.0, source)}")
        return f.op(f"icmp ne {before} {name}, {literal(0, source)}")
    if a.kind == "f" and b.kind == "f":
        if a.itemsize == b.itemsize:  # f16 <-> bf16
            wide = source.with_dtype(dtypes.float32)
            return convert(f, convert(f, name, source, wide), wide, target)
        return f.op(f"{'fpext' if a.itemsize < b.itemsize else 'fptrunc'} {before} {name} to {after}")
    if a.kind == "f":
        return _to_integer(f, name, source, target)
    if b.kind == "f":
        if b.itemsize < 4:
            wide = source.with_dtype(dtypes.float32)
            return convert(f, convert(f, name, source, wide), wide, target)
        return f.op(f"{'uitofp' if a.kind in 'ub' else 'sitofp'} {before} {name} to {after}")
    width_before, width_after = a.bits, b.bits
    if width_before == width_after:
        return name
    if width_before > width_after:
        return f.op(f"trunc {before} {name} to {after}")
    return f.op(f"{'zext' if a.kind in 'ub' else 'sext'} {before} {name} to {after}")


def _to_integer(f: FunctionEmitter, name: str, source: Type, target: Type) -> str:
    """Truncation; what does not fit (nan, infinity) becomes the smallest i64, of which narrower types keep the low bits.

    The same on every CPU, which the bare instruction is not.
    """
    wide = source.with_dtype(dtypes.int64)
    before, after = llvm_type(source), llvm_type(wide)
    flag = llvm_type(source.with_dtype(dtypes.bool_))
    limit = 9.2233720368547758e18 if source.dtype.itemsize > 2 else None
    if source.dtype.itemsize < 4:
        up = source.with_dtype(dtypes.float32)
        return _to_integer(f, convert(f, name, source, up), up, target)
    low = f.op(f"fcmp oge {before} {name}, {literal(-limit if limit else 0, source)}")
    high = f.op(f"fcmp olt {before} {name}, {literal(limit, source)}")
    fits = f.op(f"and {flag} {low}, {high}")
    safe = f.op(f"select {flag} {fits}, {before} {name}, {before} {literal(0.0, source)}")
    number = f.op(f"fptosi {before} {safe} to {after}")
    number = f.op(f"select {flag} {fits}, {after} {number}, {after} {literal(-(2**63), wide)}")
    return convert(f, number, wide, target)
