"""From PTX text to instructions, variables and functions. Nothing is interpreted here but the syntax."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from lazytorch.runtime.ptx_emulator.errors import Location, PtxError
from lazytorch.runtime.ptx_emulator.types import Type, type_named


class Address(NamedTuple):
    """`[base + offset]`; the base is a register, a variable or a number."""

    base: str
    offset: int


class Vector(NamedTuple):
    """`{a, b, …}`"""

    elements: tuple[str, ...]


class Group(NamedTuple):
    """`(a, b, …)`: the arguments or results of a call."""

    names: tuple[str, ...]


Operand = str | Address | Vector | Group


class Instruction(NamedTuple):
    """One instruction: `@!guard opcode.modifiers operands;`"""

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: str | None
    negated: bool
    location: Location


class Label(NamedTuple):
    name: str


@dataclass(frozen=True, slots=True)
class BranchTargets:
    """`name: .branchtargets a, b;`: the table of an indirect branch."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a state space. `count` is None for an array without a size (dynamic shared memory)."""

    name: str
    space: str
    type: Type
    count: int | None
    alignment: int
    initial: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return self.type.bytes * (self.count or 0)


@dataclass(slots=True)
class Function:
    """A kernel (`is_kernel`) or a function that kernels call."""

    name: str
    is_kernel: bool
    parameters: list[Variable]
    results: list[Variable] = field(default_factory=list)
    registers: dict[str, Type] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    body: list[Instruction | Label | BranchTargets] = field(default_factory=list)
    required_threads: tuple[int, ...] | None = None
    most_threads: tuple[int, ...] | None = None
    line: int = 0


@dataclass(slots=True)
class ParsedModule:
    version: tuple[int, int] = (0, 0)
    target: str = ""
    variables: list[Variable] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)


_SPACE = re.compile(r"\s*")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_USER_LINE = re.compile(r"//\s*(?:@\s*)?(\S+\.py:\d+)")
_VARIABLE = re.compile(
    r"(?:\.(?:visible|extern|weak|common)\s+)*\.(shared|global|const|local|param)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+"
    r"(?:\.ptr\b(?:\s+\.(?:global|shared|const|local|param))?(?:\s+\.align\s+\d+)?\s+)?([\w$%]+)\s*(\[\s*\d*\s*\])?\s*(?:=\s*(.*))?",
    re.DOTALL,
)
_FUNCTION = re.compile(
    r"(?:\.(?:visible|extern|weak)\s+)*\.(entry|func)\b\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*(?:\(([^)]*)\))?", re.DOTALL
)
_INSTRUCTION = re.compile(r"(?:@(!?)\s*(%?[\w$]+)\s+)?([a-z][\w]*)((?:\.[\w:]+)*)\s*(.*)", re.DOTALL)
_OPERAND = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(]+)\s*(?:,|$)")
_DIRECTIVE = re.compile(r"\.(?:version|target|address_size|file|loc)\b")
_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', re.MULTILINE)
_SECTION = re.compile(r"\.section\s+[\w.]+\s*\{[^}]*\}")
_LABEL = re.compile(r"\s*([\w$]+)\s*:(?!:)")


def parse(text: str) -> ParsedModule:
    """The module that this PTX text describes. Raises PtxError with the line of what it does not understand."""
    return _Parser(text).module


class _Parser:
    def __init__(self, text: str) -> None:
        self.module = ParsedModule()
        self.source: str | None = None
        self.function: Function | None = None
        self.depth = 0
        self.comments = [
            (match.start(), user[1]) for match in _COMMENT.finditer(text) if (user := _USER_LINE.match(match[0]))
        ]
        # Comments become blanks of the same length, so that offsets still give lines.
        self.text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        # LLVM puts the table of files at the end.
        self.files = dict(_FILE.findall(self.text))
        self.starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        self.line_index = 0
        self.run()

    def line(self, position: int) -> int:
        while self.line_index + 1 < len(self.starts) and self.starts[self.line_index + 1] <= position:
            self.line_index += 1
        return self.line_index + 1

    def run(self) -> None:
        """Cut the text at `;`, braces, labels and line directives, and read each piece."""
        text, position, end = self.text, 0, len(self.text)
        while position < end:
            match = _SPACE.match(text, position)
            position = match.end() if match else position
            if position >= end:
                break
            position = self.statement(position)
        if self.depth:
            raise PtxError("the text ends inside a body", len(self.starts))

    def statement(self, position: int) -> int:
        text = self.text
        while self.comments and self.comments[0][0] < position:
            self.source = self.comments.pop(0)[1]
        character = text[position]
        if character == "{":
            self.depth += 1
            return position + 1
        if character == "}":
            self.depth -= 1
            if self.depth == 0:
                self.function = None
            return position + 1
        if character == ";":
            return position + 1
        if self.depth and (label := _LABEL.match(text, position)):
            return self.label(label)
        if _DIRECTIVE.match(text, position):
            return self.directive(position)
        if not self.depth and (section := _SECTION.match(text, position)):
            return section.end()
        if not self.depth and (header := _FUNCTION.match(text, position)):
            return self.header(header, position)
        stop = text.find(";", position)
        if stop < 0:
            raise PtxError("no ; ends this", self.line(position), text[position : position + 60].strip())
        piece = text[position:stop]
        self.piece(piece, self.line(position))
        return stop + 1

    def label(self, match: re.Match[str]) -> int:
        assert self.function is not None
        targets = re.compile(r"\s*\.branchtargets\s+([^;]*);").match(self.text, match.end())
        if targets:
            names = tuple(name.strip() for name in targets[1].split(","))
            self.function.body.append(BranchTargets(match[1], names))
            return targets.end()
        self.function.body.append(Label(match[1]))
        return match.end()

    def directive(self, position: int) -> int:
        stop = self.text.find("\n", position)
        stop = len(self.text) if stop < 0 else stop
        line = self.text[position:stop].strip()
        if match := re.fullmatch(r"\.version\s+(\d+)\.(\d+)", line):
            self.module.version = int(match[1]), int(match[2])
        elif match := re.fullmatch(r"\.target\s+(\w+).*", line):
            self.module.target = match[1]
        elif match := re.match(r"\.loc\s+(\d+)\s+(\d+)\s", line):
            file, number = match.groups()
            self.source = None if number == "0" else f"{self.files.get(file, 'file ' + file)}:{number}"
        elif not re.fullmatch(r"\.address_size\s+64|\.file\s.*", line):
            raise PtxError("unsupported directive", self.line(position), line)
        return stop

    def header(self, match: re.Match[str], position: int) -> int:
        line = self.line(position)
        open_brace, semicolon = self.text.find("{", match.end()), self.text.find(";", match.end())
        parameters = [self.variable(piece, line) for piece in (match[4] or "").split(",") if piece.strip()]
        if semicolon >= 0 and (open_brace < 0 or semicolon < open_brace):
            return semicolon + 1  # a declaration: the definition follows, or a call of it is an error
        if open_brace < 0:
            raise PtxError("a function without a body", line, match[0])
        function = Function(match[3], match[1] == "entry", parameters, line=line)
        function.results = [self.variable(piece, line) for piece in (match[2] or "").split(",") if piece.strip()]
        attributes = self.text[match.end() : open_brace]
        function.required_threads = _numbers(attributes, "reqntid")
        function.most_threads = _numbers(attributes, "maxntid")
        self.module.functions[function.name] = self.function = function
        self.source = None
        self.depth = 1
        return open_brace + 1

    def variable(self, piece: str, line: int) -> Variable:
        match = _VARIABLE.fullmatch(piece.strip())
        if match is None:
            raise PtxError("not a variable", line, piece.strip())
        space, alignment, kind, name, array, initial = match.groups()
        try:
            element = type_named(kind)
        except KeyError:
            raise PtxError(f"unknown type .{kind}", line, piece.strip()) from None
        digits = array.strip("[] \t") if array else ""
        count = 1 if array is None else int(digits) if digits else None
        values = tuple(value.strip() for value in initial.strip("{} \t\n").split(",")) if initial else ()
        return Variable(name, space, element, count, int(alignment or element.bytes), values)

    def piece(self, piece: str, line: int) -> None:
        piece = piece.strip()
        function = self.function
        if function is None:
            self.module.variables.append(self.variable(piece, line))
        elif piece.startswith(".reg"):
            self.registers(function, piece, line)
        elif piece.startswith((".shared", ".local", ".param", ".const", ".global")):
            function.variables.append(self.variable(piece, line))
        elif piece.startswith((".pragma", ".callprototype")):
            return
        else:
            function.body.append(self.instruction(function, piece, line))

    def registers(self, function: Function, piece: str, line: int) -> None:
        match = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", piece, re.DOTALL)
        if match is None:
            raise PtxError("not a register declaration", line, piece)
        try:
            kind = type_named(match[1])
        except KeyError:
            raise PtxError(f"unknown type .{match[1]}", line, piece) from None
        for name in match[2].split(","):
            many = re.fullmatch(r"(.*)<(\d+)>", name.strip())
            names = [f"{many[1]}{number}" for number in range(int(many[2]))] if many else [name.strip()]
            function.registers.update(dict.fromkeys(names, kind))

    def instruction(self, function: Function, piece: str, line: int) -> Instruction:
        text = " ".join(piece.split())
        match = _INSTRUCTION.fullmatch(text)
        if match is None:
            raise PtxError("not an instruction", line, text)
        operands = _operands(match[5], line, text)
        modifiers = tuple(match[4].split(".")[1:])
        location = Location(function.name, line, text, self.source)
        return Instruction(match[3], modifiers, tuple(operands), match[2], match[1] == "!", location)


def _operands(text: str, line: int, statement: str) -> list[Operand]:
    if not text:
        return []
    if "{" not in text and "[" not in text and "(" not in text:
        return [operand.strip() for operand in text.split(",")]
    operands, position = [], 0
    while position < len(text):
        found = _OPERAND.match(text, position)
        if found is None:
            raise PtxError("operands that do not parse", line, statement)
        operands.append(_operand(found[1].strip(), line, statement))
        position = found.end()
    return operands


def _operand(text: str, line: int, statement: str) -> Operand:
    if text.startswith("{"):
        return Vector(tuple(element.strip() for element in text[1:-1].split(",")))
    if text.startswith("("):
        return Group(tuple(name.strip() for name in text[1:-1].split(",") if name.strip()))
    if text.startswith("["):
        match = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:([+-])\s*(-?\w+)\s*)?\]", text)
        if match is None:
            raise PtxError(f"unsupported address {text}", line, statement)
        try:
            offset = int(match[3], 0) if match[3] else 0
        except ValueError:
            raise PtxError(f"unsupported address {text}", line, statement) from None
        return Address(match[1], -offset if match[2] == "-" else offset)
    return text


def _numbers(text: str, directive: str) -> tuple[int, ...] | None:
    match = re.search(rf"\.{directive}\s+([\d,\s]+)", text)
    return tuple(int(number) for number in match[1].split(",")) if match else None
