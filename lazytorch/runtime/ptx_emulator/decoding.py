"""Decoding: one closure per instruction, made when a module is loaded.

Every operand is a slot of the register list: registers, and also immediates, special registers, kernel parameters and
addresses of variables, which the launch fills in. So a closure only indexes a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from lazytorch.runtime.ptx_emulator.errors import Location, PtxError
from lazytorch.runtime.ptx_emulator.parser import Address, Function, Instruction, Operand, Vector
from lazytorch.runtime.ptx_emulator.special import SPECIAL
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import SIGNED, UNSIGNED, Array, Type, garbage, is_type, literal, type_named

Execute = Callable[[Threads], None]
Reader = Callable[[list[Array]], Array]
Writer = Callable[[list[Array], Array], None]
Decode = Callable[["Decoder"], Execute]

ORDINARY: dict[str, Decode] = {}
COLLECTIVE: dict[str, Decode] = {}


def instruction(*opcodes: str) -> Callable[[Decode], Decode]:
    """Register how instructions with these opcodes are decoded."""

    def register(decode: Decode) -> Decode:
        ORDINARY.update(dict.fromkeys(opcodes, decode))
        return decode

    return register


def collective(*opcodes: str) -> Callable[[Decode], Decode]:
    """The same for instructions that threads of a warp execute together; the decoder leaves the mask's reader in
    `decoder.mask` (None: the whole warp)."""

    def register(decode: Decode) -> Decode:
        COLLECTIVE.update(dict.fromkeys(opcodes, decode))
        return decode

    return register


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter and its place in the argument block."""

    name: str
    offset: int
    bytes: int
    type: Type


@dataclass(slots=True)
class Slots:
    """The register list of a kernel: names, sizes, and what the launch has to fill in."""

    initial: list[Array] = field(default_factory=list)
    bits: list[int] = field(default_factory=list)
    registers: dict[str, int] = field(default_factory=dict)
    by_name: dict[tuple[str, int], int] = field(default_factory=dict)  # everything else, by its size, too
    special: list[tuple[str, int]] = field(default_factory=list)  # (special register, slot)
    parameters: list[tuple[int, int, int]] = field(default_factory=list)  # (offset, bytes, slot)
    addresses: list[tuple[str, int, int]] = field(default_factory=list)  # (variable, bits, slot)

    def new(self, name: str, bits: int, value: Array) -> int:
        slot = len(self.initial)
        self.initial.append(value)
        self.bits.append(bits)
        self.by_name[name, bits] = slot
        return slot


@dataclass(slots=True)
class Decoder:
    """What decoders of instructions see: the instruction, its modifiers not taken yet, and access to operands."""

    registers: dict[str, Type]
    parameters: dict[str, Parameter]
    variables: dict[str, str]  # name → state space
    slots: Slots
    call_parameters: set[str]  # variables that hold arguments and results of calls
    smallest_access: dict[str, int] = field(default_factory=dict)  # bytes, per memory
    mentions: Counter[str] = field(default_factory=Counter)  # how often the kernel mentions a name
    swapped: set[Address] = field(default_factory=set)  # addresses of compare-and-swap
    instruction: Instruction = field(init=False)
    modifiers: list[str] = field(init=False)
    reads: set[int] = field(init=False)
    writes: set[int] = field(init=False)
    mask: Reader | None = field(init=False)

    def begin(self, instruction: Instruction) -> None:
        self.instruction = instruction
        self.modifiers = list(instruction.modifiers)
        self.reads, self.writes = set(), set()
        self.mask = None

    def finish(self) -> None:
        """Every modifier must have had a meaning for the decoder."""
        if self.modifiers:
            raise self.error(f"unsupported modifier .{self.modifiers[0]}")

    def error(self, message: str) -> PtxError:
        location = self.instruction.location
        return PtxError(message, location.line, location.text)

    @property
    def location(self) -> Location:
        return self.instruction.location

    @property
    def opcode(self) -> str:
        return self.instruction.opcode

    @property
    def operands(self) -> tuple[Operand, ...]:
        return self.instruction.operands

    def arity(self, *allowed: int) -> int:
        """The number of operands, which must be one of these."""
        count = len(self.operands)
        if count not in allowed:
            raise self.error(f"{' or '.join(map(str, allowed))} operands expected, found {count}")
        return count

    # Modifiers
    def flag(self, *names: str) -> bool:
        """Whether one of these modifiers is present; takes it."""
        return self.take(*names) is not None

    def take(self, *names: str) -> str | None:
        """The first modifier among these names, taken from the list."""
        for modifier in self.modifiers:
            if modifier in names:
                self.modifiers.remove(modifier)
                return modifier
        return None

    def choose(self, *names: str) -> str:
        """As `take`, for a modifier that must be there."""
        found = self.take(*names)
        if found is None:
            raise self.error(f"one of {', '.join('.' + name for name in names)} expected")
        return found

    def take_type(self) -> Type:
        """The last modifier that is a type."""
        for index in reversed(range(len(self.modifiers))):
            if is_type(self.modifiers[index]):
                return type_named(self.modifiers.pop(index))
        raise self.error("no type")

    # Operands
    def slot(self, operand: Operand, bits: int) -> int:
        """The slot that holds a scalar operand; immediates have `bits` bits."""
        if not isinstance(operand, str):
            raise self.error(f"a scalar operand expected, found {operand}")
        slots = self.slots
        register = slots.registers.get(operand)
        if register is not None:
            return register
        kind = self.registers.get(operand)
        if kind is not None:
            register = slots.registers[operand] = slots.new(operand, kind.bits, garbage(kind.bits))
            return register
        known = slots.by_name.get((operand, bits))
        if known is not None:
            return known
        if operand.startswith("%"):
            return self._special(operand)
        if operand in self.variables:
            slot = slots.new(operand, bits, garbage(bits))
            slots.addresses.append((operand, bits, slot))
            return slot
        if operand in self.parameters:  # its address, in the space of parameters
            return slots.new(operand, bits, literal(str(self.parameters[operand].offset), bits))
        if operand == "WARP_SZ":
            return slots.new(operand, bits, literal("32", bits))
        try:
            return slots.new(operand, bits, literal(operand, bits))
        except ValueError:
            raise self.error(f"unknown operand {operand}") from None

    def _special(self, name: str) -> int:
        if name not in SPECIAL:
            raise self.error(f"unknown operand {name}")
        bits = 64 if name in ("%clock64", "%globaltimer", "%gridid") else 32
        known = self.slots.by_name.get((name, bits))
        if known is None:
            known = self.slots.new(name, bits, garbage(bits))
            self.slots.special.append((name, known))
        return known

    def read(self, operand: Operand, kind: Type) -> Reader:
        """A function from the register list to the operand's values, viewed as this type."""
        slot = self.slot(operand, kind.bits)
        self.reads.add(slot)
        have = self.slots.bits[slot]
        if kind.kind == "pred" or (have == kind.bits and kind.view == kind.storage):
            if have != kind.bits:
                raise self.error(f"{operand} is no predicate")
            return itemgetter(slot)
        view = kind.view
        if have == kind.bits:
            return lambda registers: registers[slot].view(view)
        if have > kind.bits and have > 1:
            low = UNSIGNED[kind.bits]
            return lambda registers: registers[slot].astype(low).view(view)
        raise self.error(f"{operand} has {have} bits, .{kind.name} needs {kind.bits}")

    def write(self, operand: Operand, kind: Type) -> Writer:
        """A function that puts values of this type into the operand's register, extended if the register is larger."""
        if operand == "_":
            return lambda registers, value: None
        if not isinstance(operand, str) or operand not in self.registers:
            raise self.error(f"a register expected, found {operand}")
        slot = self.slot(operand, kind.bits)
        self.writes.add(slot)
        have = self.slots.bits[slot]
        if kind.kind == "pred":
            if have != 1:
                raise self.error(f"{operand} is no predicate")
            return lambda registers, value: registers.__setitem__(slot, value)
        storage = UNSIGNED.get(have)
        if storage is None or have < kind.bits:
            raise self.error(f"{operand} has {have} bits, .{kind.name} needs {kind.bits}")
        if have == kind.bits:
            return lambda registers, value: registers.__setitem__(slot, value.view(storage))
        wide = SIGNED[have] if kind.kind == "s" else storage
        narrow = kind.view if kind.kind == "s" else kind.storage
        return lambda registers, value: registers.__setitem__(slot, value.view(narrow).astype(wide).view(storage))

    def constant(self, operand: Operand) -> int:
        """An operand that has to be a number."""
        try:
            return int(str(operand), 0)
        except ValueError:
            raise self.error(f"a number expected, found {operand}") from None

    def predicate(self, operand: Operand) -> Reader:
        """A source predicate, possibly negated (`!%p1`), or an immediate truth value."""
        pred = type_named("pred")
        if isinstance(operand, str) and operand.startswith("!"):
            inner = self.read(operand[1:], pred)
            return lambda registers: ~inner(registers)
        if isinstance(operand, str) and operand not in self.registers and not operand.startswith("%"):
            number = self.read(operand, type_named("b32"))
            return lambda registers: number(registers) != 0
        return self.read(operand, pred)

    def vector(self, operand: Operand) -> tuple[str, ...]:
        """The names in a vector operand; a scalar is a vector of one."""
        if isinstance(operand, Vector):
            return operand.elements
        if isinstance(operand, str):
            return (operand,)
        raise self.error(f"registers expected, found {operand}")

    def address(self, operand: Operand) -> Reader:
        """A function from the register list to 64-bit addresses."""
        if not isinstance(operand, Address):
            raise self.error(f"an address expected, found {operand}")
        kind = self.registers.get(operand.base)
        bits = kind.bits if kind else 64
        slot = self.slot(operand.base, bits)
        self.reads.add(slot)
        offset = operand.offset
        if bits == 64 and offset:
            return lambda registers: registers[slot].view(_INT64) + offset
        if bits == 64:
            return lambda registers: registers[slot].view(_INT64)
        return lambda registers: registers[slot].astype(_INT64) + offset


_INT64: Any = SIGNED[64]


def parameters_of(function: Function) -> dict[str, Parameter]:
    """The layout of a kernel's argument block."""
    result: dict[str, Parameter] = {}
    offset = 0
    for variable in function.parameters:
        offset = -(-offset // variable.alignment) * variable.alignment
        size = variable.type.bytes * (1 if variable.count is None else variable.count)
        result[variable.name] = Parameter(variable.name, offset, size, variable.type)
        offset += size
    return result
