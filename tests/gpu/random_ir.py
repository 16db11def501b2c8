"""Random straight-line LLVM IR, with its data, in two forms: a loop for the host, and a kernel with one thread per element.

What LLVM leaves open does not show: no sign or payload of a NaN, no sign of a zero from maxnum."""

from __future__ import annotations

import random
import re

import numpy as np

from tests.gpu.nvptx import INTRINSICS

WIDTHS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64}
INTEGERS, FLOATS = ("i8", "i16", "i32", "i64"), ("float", "double")
DTYPES = {"i8": np.uint8, "i16": np.uint16, "i32": np.uint32, "i64": np.uint64, "float": np.float32, "double": np.float64}
SUFFIX = {"float": "f32", "double": "f64"}


class RandomProgram:
    """`operations` random operations on one element of each type."""

    def __init__(self, seed: int, operations: int = 40) -> None:
        self.choose = random.Random(seed)
        self.values: dict[str, list[str]] = {kind: [] for kind in (*WIDTHS, "i1")}
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        for number, kind in enumerate(WIDTHS):
            self.new(kind, f"load {kind}, ptr addrspace(1) %p{number}, align {WIDTHS[kind] // 8}")
        families = (
            [self.integer] * 4 + [self.floating] * 4 + [self.compare, self.select, self.resize, self.convert, self.short] * 2
        )
        for _ in range(operations):
            self.choose.choice(families)()
        self.keep()
        for number, kind in enumerate(WIDTHS):
            self.lines.append(
                f"store {kind} {self.values[kind][-1]}, ptr addrspace(1) %q{number}, align {WIDTHS[kind] // 8}"
            )

    def keep(self) -> None:
        """Every value leaves a trace in a result, so that none is dead code."""
        for kind in INTEGERS:
            values = self.values[kind].copy()
            source = {"i32": "float", "i64": "double"}.get(kind)
            for value in self.values[source].copy() if source else []:
                values.append(self.new(kind, f"bitcast {source} {self.defined(source, value)} to {kind}"))
            result = values[0]
            for value in values[1:]:
                result = self.new(kind, f"xor {kind} {result}, {value}")

    def new(self, kind: str, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        if kind in self.values:
            self.values[kind].append(name)
        return name

    def call(self, kind: str, name: str, arguments: list[tuple[str, str]]) -> str:
        self.declarations.add(f"declare {kind} @{name}({', '.join(given for given, _ in arguments)})")
        return self.new(kind, f"call {kind} @{name}({', '.join(f'{given} {value}' for given, value in arguments)})")

    def pick(self, kind: str) -> str:
        if self.choose.random() < 0.15:
            return (
                str(self.choose.randrange(-5, 100))
                if kind in INTEGERS
                else self.choose.choice(["0.0", "1.0", "-2.5", "0.5"])
            )
        return self.choose.choice(self.values[kind])

    def number(self, kind: str) -> str:
        """A value that is not NaN."""
        return self.defined(kind, self.choose.choice(self.values[kind]))

    def defined(self, kind: str, value: str) -> str:
        """The value, or 0 for NaN, whose sign and payload are open."""
        ordered = self.new("i1", f"fcmp ord {kind} {value}, {value}")
        return self.new(kind, f"select i1 {ordered}, {kind} {value}, {kind} 0.0")

    def integer(self) -> None:
        kind = self.choose.choice(INTEGERS)
        width = WIDTHS[kind]
        plain = ("add", "sub", "mul", "and", "or", "xor")
        operation = self.choose.choice(
            (*plain, "shl", "lshr", "ashr", "udiv", "sdiv", "urem", "srem", "fshl", "smax", "umin", "abs")
        )
        if operation in ("shl", "lshr", "ashr"):
            amount = self.new(kind, f"and {kind} {self.pick(kind)}, {width - 1}")
            self.new(kind, f"{operation} {kind} {self.pick(kind)}, {amount}")
        elif operation in ("udiv", "sdiv", "urem", "srem"):
            small = self.new(kind, f"and {kind} {self.pick(kind)}, 63")
            divisor = self.new(kind, f"or {kind} {small}, 1")
            self.new(kind, f"{operation} {kind} {self.pick(kind)}, {divisor}")
        elif operation == "fshl":
            value = self.pick(kind)
            self.call(kind, f"llvm.fshl.{kind}", [(kind, value), (kind, value), (kind, self.pick(kind))])
        elif operation in ("smax", "umin"):
            self.call(kind, f"llvm.{operation}.{kind}", [(kind, self.pick(kind)), (kind, self.pick(kind))])
        elif operation == "abs":
            self.call(kind, f"llvm.abs.{kind}", [(kind, self.pick(kind)), ("i1", "false")])
        else:
            self.new(kind, f"{operation} {kind} {self.pick(kind)}, {self.pick(kind)}")

    def floating(self) -> None:
        kind = self.choose.choice(FLOATS)
        unary = ("sqrt", "floor", "ceil", "trunc", "rint", "roundeven", "fabs")
        operation = self.choose.choice(
            ("fadd", "fsub", "fmul", "fdiv", "fneg", "fma", "copysign", "minimum", "maximum", *unary)
        )
        if operation == "fneg":
            self.new(kind, f"fneg {kind} {self.pick(kind)}")
        elif operation in ("fadd", "fsub", "fmul", "fdiv"):
            self.new(kind, f"{operation} {kind} {self.pick(kind)}, {self.pick(kind)}")
        elif operation == "copysign":
            self.call(kind, f"llvm.copysign.{SUFFIX[kind]}", [(kind, self.pick(kind)), (kind, self.number(kind))])
        else:
            arity = 1 if operation in unary else 3 if operation == "fma" else 2
            self.call(kind, f"llvm.{operation}.{SUFFIX[kind]}", [(kind, self.pick(kind)) for _ in range(arity)])

    def short(self) -> None:
        """Arithmetic of half and bfloat, whose results in float round to those of a single rounding."""
        kind = self.choose.choice(("half", "bfloat"))
        left, right = (
            self.new(kind, f"fptrunc float {self.choose.choice(self.values['float'])} to {kind}") for _ in range(2)
        )
        value = self.new(kind, f"{self.choose.choice(('fadd', 'fsub', 'fmul'))} {kind} {left}, {right}")
        self.new("float", f"fpext {kind} {value} to float")

    def compare(self) -> None:
        kind = self.choose.choice((*INTEGERS, *FLOATS))
        if kind in INTEGERS:
            relation = self.choose.choice(["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"])
            self.new("i1", f"icmp {relation} {kind} {self.pick(kind)}, {self.pick(kind)}")
        else:
            relation = self.choose.choice(
                ["oeq", "one", "olt", "ole", "ogt", "oge", "ord", "uno", "ueq", "une", "ult", "ugt"]
            )
            self.new("i1", f"fcmp {relation} {kind} {self.pick(kind)}, {self.pick(kind)}")

    def select(self) -> None:
        if not self.values["i1"]:
            return
        kind = self.choose.choice((*INTEGERS, *FLOATS))
        condition = self.choose.choice(self.values["i1"])
        self.new(kind, f"select i1 {condition}, {kind} {self.pick(kind)}, {kind} {self.pick(kind)}")

    def resize(self) -> None:
        narrow, wide = sorted(self.choose.sample(INTEGERS, 2), key=lambda kind: WIDTHS[kind])
        if self.choose.random() < 0.5:
            self.new(narrow, f"trunc {wide} {self.choose.choice(self.values[wide])} to {narrow}")
        else:
            self.new(
                wide, f"{self.choose.choice(['sext', 'zext'])} {narrow} {self.choose.choice(self.values[narrow])} to {wide}"
            )

    def convert(self) -> None:
        kind, integer = self.choose.choice(FLOATS), self.choose.choice(("i8", "i32", "i64"))
        operation = self.choose.choice(("from", "saturate", "resize", "bits", "bfloat", "half", "count"))
        if operation == "from":
            self.new(
                kind,
                f"{self.choose.choice(['sitofp', 'uitofp'])} {integer} {self.choose.choice(self.values[integer])} to {kind}",
            )
        elif operation == "saturate" and integer != "i8":
            sign = self.choose.choice("su")
            self.call(integer, f"llvm.fpto{sign}i.sat.{integer}.{SUFFIX[kind]}", [(kind, self.pick(kind))])
        elif operation == "resize" and self.choose.random() < 0.5:
            self.new("double", f"fpext float {self.choose.choice(self.values['float'])} to double")
        elif operation == "resize":
            self.new("float", f"fptrunc double {self.choose.choice(self.values['double'])} to float")
        elif operation == "bits":
            self.new("i32", f"bitcast float {self.number('float')} to i32")
        elif operation in ("bfloat", "half"):
            short = self.new(operation, f"fptrunc float {self.choose.choice(self.values['float'])} to {operation}")
            self.new("float", f"fpext {operation} {short} to float")
        elif operation == "count" and integer != "i8":
            name = self.choose.choice(("ctpop", "bitreverse", "bswap", "ctlz", "cttz"))
            extra = [("i1", "false")] if name in ("ctlz", "cttz") else []
            self.call(integer, f"llvm.{name}.{integer}", [(integer, self.pick(integer)), *extra])

    def _body(self) -> str:
        pointers = "\n".join(
            f"%p{number} = getelementptr {kind}, ptr addrspace(1) %a{number}, i32 %t\n"
            f"%q{number} = getelementptr {kind}, ptr addrspace(1) %o{number}, i32 %t"
            for number, kind in enumerate(WIDTHS)
        )
        return pointers + "\n" + "\n".join(self.lines)

    def _parameters(self) -> str:
        return ", ".join(f"ptr addrspace(1) noalias %{letter}{number}" for letter in "oa" for number in range(len(WIDTHS)))

    def kernel(self) -> str:
        index = "%t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()"
        declarations = "\n".join(sorted(self.declarations))
        header = f"{declarations}{INTRINSICS}define ptx_kernel void @k({self._parameters()})"
        return f"{header} {{\n{index}\n{self._body()}\nret void\n}}"

    def host(self) -> str:
        body = re.sub(r"(%v\d+) = (f\w+) bfloat (%v\d+), (%v\d+)", _bfloat_arithmetic, self._body())
        body = re.sub(r"(%v\d+) = fptrunc float (\S+) to bfloat", _rounded_to_bfloat, body)
        body = re.sub(r"= fpext bfloat (%v\d+) to float", r"= bitcast i32 \1.bits to float", body)
        declarations = "\n".join(sorted(self.declarations))
        loop = f"""
define void @k({self._parameters()}, i32 %n) {{
entry:
br label %loop
loop:
%t = phi i32 [0, %entry], [%next, %loop]
{body}
%next = add i32 %t, 1
%more = icmp ult i32 %next, %n
br i1 %more, label %loop, label %done
done:
ret void
}}"""
        return (declarations + loop).replace(" addrspace(1)", "")

    def inputs(self, seed: int, count: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [_numbers(rng, kind, count) for kind in WIDTHS]


class RandomControlFlow:
    """Branches and loops, nested at random, over variables that LLVM turns into registers. Threads part often."""

    VARIABLES = 5

    def __init__(self, seed: int, statements: int = 12) -> None:
        self.choose = random.Random(seed)
        self.lines: list[str] = []
        self.count = 0
        self.sequence(statements, depth=0)

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def emit(self, text: str) -> str:
        name = "%" + self.name("v")
        self.lines.append(f"{name} = {text}")
        return name

    def value(self) -> str:
        if self.choose.random() < 0.2:
            return str(self.choose.randrange(-9, 100))
        return self.emit(f"load i32, ptr %x{self.choose.randrange(self.VARIABLES)}")

    def assign(self) -> None:
        operation = self.choose.choice(["add", "sub", "mul", "xor", "and", "or"])
        value = self.emit(f"{operation} i32 {self.value()}, {self.value()}")
        self.lines.append(f"store i32 {value}, ptr %x{self.choose.randrange(self.VARIABLES)}")

    def condition(self) -> str:
        return self.emit(f"icmp {self.choose.choice(['slt', 'ugt', 'eq', 'ne', 'sge'])} i32 {self.value()}, {self.value()}")

    def sequence(self, statements: int, depth: int) -> None:
        for _ in range(statements):
            kind = self.choose.random()
            if kind < 0.5 or depth == 3:
                self.assign()
            elif kind < 0.8:
                self.branch(depth)
            else:
                self.loop(depth)

    def branch(self, depth: int) -> None:
        yes, no, join = (self.name(label) for label in ("yes", "no", "join"))
        self.lines.append(f"br i1 {self.condition()}, label %{yes}, label %{no}")
        for label in (yes, no):
            self.lines.append(f"{label}:")
            self.sequence(self.choose.randrange(1, 4), depth + 1)
            self.lines.append(f"br label %{join}")
        self.lines.append(f"{join}:")

    def loop(self, depth: int) -> None:
        """At most seven rounds, a number that depends on the data, with a way out in the middle."""
        head, body, rest, done, counter = (self.name(label) for label in ("head", "body", "rest", "done", "n"))
        rounds = self.emit(f"and i32 {self.value()}, 7")
        self.lines += [f"store i32 {rounds}, ptr %counter{depth}", f"br label %{head}", f"{head}:"]
        left = self.emit(f"load i32, ptr %counter{depth}")
        more = self.emit(f"icmp sgt i32 {left}, 0")
        self.lines += [f"br i1 {more}, label %{body}, label %{done}", f"{body}:"]
        self.lines += [f"%{counter} = sub i32 {left}, 1", f"store i32 %{counter}, ptr %counter{depth}"]
        self.sequence(self.choose.randrange(1, 4), depth + 1)
        self.lines += [f"br i1 {self.condition()}, label %{done}, label %{rest}", f"{rest}:"]
        self.sequence(1, depth + 1)
        self.lines += [f"br label %{head}", f"{done}:"]

    def _function(self, header: str, before: str, after: str) -> str:
        names = [f"%x{number}" for number in range(self.VARIABLES)]
        start = [f"{name} = alloca i32" for name in (*names, *(f"%counter{depth}" for depth in range(4)))]
        start.append(before)
        end = []
        for number, name in enumerate(names):
            start += [
                f"%i{number} = add i32 %first, {number}",
                f"%a{number} = getelementptr i32, ptr addrspace(1) %in, i32 %i{number}",
            ]
            start += [f"%l{number} = load i32, ptr addrspace(1) %a{number}", f"store i32 %l{number}, ptr {name}"]
            end += [
                f"%r{number} = load i32, ptr {name}",
                f"%b{number} = getelementptr i32, ptr addrspace(1) %out, i32 %i{number}",
            ]
            end.append(f"store i32 %r{number}, ptr addrspace(1) %b{number}")
        return "\n".join([INTRINSICS if "ptx" in header else "", header, *start, *self.lines, *end, after, "}"])

    def kernel(self) -> str:
        header = "define ptx_kernel void @k(ptr addrspace(1) noalias %out, ptr addrspace(1) noalias %in) {"
        index = f"%t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()\n%first = mul i32 %t, {self.VARIABLES}"
        return self._function(header, index, "ret void")

    def host(self) -> str:
        """The same for one row, and a function that calls it for every row."""
        one = self._function(
            "define void @one(ptr noalias %out, ptr noalias %in, i32 %t) {",
            f"%first = mul i32 %t, {self.VARIABLES}",
            "ret void",
        )
        loop = """
define void @k(ptr %out, ptr %in, i32 %n) {
entry:
br label %loop
loop:
%t = phi i32 [0, %entry], [%next, %loop]
call void @one(ptr %out, ptr %in, i32 %t)
%next = add i32 %t, 1
%more = icmp ult i32 %next, %n
br i1 %more, label %loop, label %done
done:
ret void
}"""
        return (one + loop).replace(" addrspace(1)", "")


def _bfloat_arithmetic(match: re.Match[str]) -> str:
    name, operation, left, right = match.groups()
    return f"""{name}.left = bitcast i32 {left}.bits to float
{name}.right = bitcast i32 {right}.bits to float
{name}.exact = {operation} float {name}.left, {name}.right
{name} = fptrunc float {name}.exact to bfloat"""


def _rounded_to_bfloat(match: re.Match[str]) -> str:
    """x86 without AVX512-BF16 calls a function of the compiler's library here: round with integers."""
    name, value = match[1], match[2]
    return f"""{name}.raw = bitcast float {value} to i32
{name}.high = lshr i32 {name}.raw, 16
{name}.odd = and i32 {name}.high, 1
{name}.bias = add i32 {name}.odd, 32767
{name}.sum = add i32 {name}.bias, {name}.raw
{name}.quiet = or i32 {name}.raw, 4194304
{name}.nan = fcmp uno float {value}, {value}
{name}.all = select i1 {name}.nan, i32 {name}.quiet, i32 {name}.sum
{name}.bits = and i32 {name}.all, -65536"""


def _numbers(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    if kind in INTEGERS:
        values = (
            rng.integers(0, 2 ** WIDTHS[kind], count, dtype=np.uint64) if kind != "i64" else rng.integers(0, 2**63, count)
        )
        values[::3] = rng.integers(0, 20, len(values[::3]))
        return values.astype(DTYPES[kind])
    values = (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 6, count)).astype(DTYPES[kind])
    values[:8] = [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5]
    return values
