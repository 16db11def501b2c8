"""A kernel as basic blocks of closures, ready to launch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lazytorch.runtime.ptx_emulator.decoding import (
    COLLECTIVE,
    ORDINARY,
    Decoder,
    Execute,
    Parameter,
    Reader,
    Slots,
    parameters_of,
)
from lazytorch.runtime.ptx_emulator.errors import Location, PtxError
from lazytorch.runtime.ptx_emulator.inlining import FlatKernel, Item, flatten
from lazytorch.runtime.ptx_emulator.parser import (
    Address,
    BranchTargets,
    Function,
    Instruction,
    Label,
    ParsedModule,
    Variable,
    Vector,
)
from lazytorch.runtime.ptx_emulator.synchronisation import BARRIERS, Barrier, decode_barrier
from lazytorch.runtime.ptx_emulator.threads import Threads
from lazytorch.runtime.ptx_emulator.types import type_named


@dataclass(slots=True)
class Branch:
    """Go to `target` where the guard holds (everywhere if there is none), else on to the next block."""

    guard: Reader | None
    target: int


@dataclass(slots=True)
class IndirectBranch:
    """Go to the block that an index selects from a table."""

    index: Reader
    targets: np.ndarray[tuple[int], np.dtype[np.int32]]
    location: Location


@dataclass(slots=True)
class Exit:
    """End the threads for which the guard holds."""

    guard: Reader | None


@dataclass(slots=True)
class Collective:
    """An instruction that the lanes of a warp named by `mask` (None: all of them) execute together."""

    execute: Execute
    mask: Reader | None
    location: Location


End = Branch | IndirectBranch | Exit | Barrier | Collective


@dataclass(slots=True)
class Block:
    """Instructions that execute one after the other, and what follows them (None: the next block)."""

    body: list[Execute] = field(default_factory=list)
    end: End | None = None
    reads: set[int] = field(default_factory=set)  # registers that must be there before
    writes: set[int] = field(default_factory=set)
    opcodes: Counter[str] = field(default_factory=Counter)
    location: Location | None = None  # of its first instruction

    def note(self, decoder: Decoder) -> None:
        """An instruction that was decoded joins."""
        reads, writes, opcode = decoder.reads, decoder.writes, decoder.opcode
        self.location = self.location or decoder.location
        self.reads.update(slot for slot in reads if slot not in self.writes)
        self.writes.update(writes)
        self.opcodes[opcode] += 1


@dataclass(slots=True)
class KernelProgram:
    """A decoded kernel. It depends on no device and is shared by all that load the same text."""

    name: str
    parameters: list[Parameter]
    parameter_bytes: int
    blocks: list[Block]
    slots: Slots
    shared_offsets: dict[str, int]
    shared_bytes: int
    has_dynamic_shared: bool
    local_offsets: dict[str, int]
    local_bytes: int
    required_threads: tuple[int, ...] | None
    most_threads: tuple[int, ...] | None
    smallest_access: dict[str, int]  # bytes, per kind of memory ("shared", "global")


def build_kernel(module: ParsedModule, function: Function) -> KernelProgram:
    """Decode a kernel. Raises PtxError for anything unknown in it."""
    flat = flatten(module, function)
    layout = _Layout(module, flat)
    parameters = parameters_of(function)
    spaces = {variable.name: variable.space for variable in [*module.variables, *flat.variables]}
    decoder = Decoder({**flat.registers}, parameters, spaces, Slots(), flat.call_parameters)
    blocks = _Builder(decoder, flat.items).build()
    block_bytes = max((parameter.offset + parameter.bytes for parameter in parameters.values()), default=0)
    return KernelProgram(
        name=function.name,
        parameters=list(parameters.values()),
        parameter_bytes=block_bytes,
        blocks=blocks,
        slots=decoder.slots,
        shared_offsets=layout.shared,
        shared_bytes=layout.shared_bytes,
        has_dynamic_shared=layout.dynamic,
        local_offsets=layout.local,
        local_bytes=layout.local_bytes,
        required_threads=function.required_threads,
        most_threads=function.most_threads,
        smallest_access=decoder.smallest_access,
    )


class _Layout:
    """Places of the variables in shared and local memory; dynamic shared memory follows the rest."""

    def __init__(self, module: ParsedModule, flat: FlatKernel) -> None:
        self.shared: dict[str, int] = {}
        self.local: dict[str, int] = {}
        variables = [*module.variables, *flat.variables]
        self.shared_bytes = self.place(self.shared, [v for v in variables if v.space == "shared" and v.count is not None])
        self.local_bytes = self.place(self.local, [v for v in variables if v.space == "local"])
        dynamic = [v for v in variables if v.space == "shared" and v.count is None]
        self.dynamic = bool(dynamic)
        if dynamic:
            alignment = max(16, *(v.alignment for v in dynamic))
            self.shared_bytes = -(-self.shared_bytes // alignment) * alignment
            self.shared.update((v.name, self.shared_bytes) for v in dynamic)

    def place(self, offsets: dict[str, int], variables: list[Variable]) -> int:
        end = 0
        for variable in variables:
            end = -(-end // variable.alignment) * variable.alignment
            offsets[variable.name] = end
            end += variable.bytes
        return end


class _Builder:
    def __init__(self, decoder: Decoder, items: list[Item]) -> None:
        self.decoder = decoder
        self.items = list(self._without_guarded_synchronisation(items))
        self.blocks: list[Block] = [Block()]
        self.labels: dict[str, int] = {}
        instructions = [item for item in self.items if isinstance(item, Instruction)]
        decoder.mentions = Counter(name for item in instructions for name in _names(item))
        decoder.swapped = {
            operand
            for item in instructions
            if item.opcode == "atom" and "cas" in item.modifiers
            for operand in item.operands
            if isinstance(operand, Address)
        }
        self.tables = {item.name: item for item in items if isinstance(item, BranchTargets)}
        self.targets = {label for table in self.tables.values() for label in table.labels}
        self.targets.update(str(item.operands[0]) for item in instructions if item.opcode == "bra" and item.operands)
        self.pending: list[tuple[Block, Instruction]] = []  # branches whose targets are looked up at the end

    def _without_guarded_synchronisation(self, items: list[Item]) -> Iterable[Item]:
        """`@p barrier` as a branch around it: only the threads for which p holds arrive."""
        for number, item in enumerate(items):
            if isinstance(item, Instruction) and item.guard and (item.opcode in COLLECTIVE or item.opcode in BARRIERS):
                skip = f"<skip {number}>"
                yield item._replace(opcode="bra", modifiers=(), operands=(skip,), negated=not item.negated)
                yield item._replace(guard=None, negated=False)
                yield Label(skip)
            else:
                yield item

    def build(self) -> list[Block]:
        for item in self.items:
            if isinstance(item, Label):
                if item.name not in self.targets:
                    continue  # a mark of debugging information
                self.start_block()
                self.labels[item.name] = len(self.blocks) - 1
            elif isinstance(item, Instruction):
                try:
                    self.instruction(item)
                except (KeyError, IndexError) as error:  # types or operands that no decoder expects
                    raise self.decoder.error("unsupported types or operands") from error
        if self.blocks[-1].end is None:
            self.blocks[-1].end = Exit(None)
        for block, item in self.pending:
            self.resolve(block, item)
        self.drop_local_writes()
        return self.blocks

    def start_block(self) -> Block:
        block = self.blocks[-1]
        if block.body or block.end is not None or block.opcodes:
            self.blocks.append(Block())
        return self.blocks[-1]

    def instruction(self, item: Instruction) -> None:
        decoder = self.decoder
        decoder.begin(item)
        opcode = item.opcode
        if opcode in ("bra", "brx", "ret", "exit"):
            self.control(item)
        elif opcode in BARRIERS and "warp" not in item.modifiers:
            self.end(decode_barrier(decoder))
        elif opcode in COLLECTIVE or (opcode in BARRIERS and "warp" in item.modifiers):
            self.start_block()  # what stands before must not run again while lanes wait here
            execute = COLLECTIVE[opcode](decoder)
            self.end(Collective(execute, decoder.mask, item.location))
        elif opcode in ORDINARY:
            execute = ORDINARY[opcode](decoder)
            decoder.finish()
            if item.guard:
                execute = self.guarded(item, execute)
            block = self.blocks[-1]
            block.note(decoder)
            block.body.append(execute)
        else:
            raise decoder.error(f"unknown instruction {opcode}")

    def end(self, end: End) -> None:
        self.decoder.finish()
        block = self.blocks[-1]
        block.note(self.decoder)
        block.end = end
        self.blocks.append(Block())

    def guard(self, item: Instruction) -> Reader | None:
        if item.guard is None:
            return None
        return self.decoder.predicate(("!" if item.negated else "") + item.guard)

    def control(self, item: Instruction) -> None:
        decoder = self.decoder
        decoder.flag("uni")
        if item.opcode in ("ret", "exit"):
            self.end(Exit(self.guard(item)))
            return
        block = self.blocks[-1]
        decoder.arity(1 if item.opcode == "bra" else 2)
        if item.opcode == "bra":
            self.end(Branch(self.guard(item), -1))
        else:
            decoder.choose("idx")
            index = decoder.read(item.operands[0], type_named("u32"))
            self.end(IndirectBranch(index, np.zeros(0, np.int32), item.location))
        self.pending.append((block, item))

    def resolve(self, block: Block, item: Instruction) -> None:
        location = item.location
        try:
            if isinstance(block.end, Branch):
                block.end.target = self.labels[str(item.operands[0])]
            elif isinstance(block.end, IndirectBranch):
                labels = self.tables[str(item.operands[1])].labels
                block.end.targets = np.array([self.labels[label] for label in labels], np.int32)
        except KeyError:
            raise PtxError("branch to an unknown label", location.line, location.text) from None

    def guarded(self, item: Instruction, inner: Execute) -> Execute:
        """The instruction for the threads whose guard holds."""
        decoder = self.decoder
        reads, writes = frozenset(decoder.reads), frozenset(decoder.writes)
        holds = self.guard(item)
        assert holds is not None
        decoder.reads |= writes  # the others keep the old value

        def execute(threads: Threads) -> None:
            guard = holds(threads.registers)
            if guard.all():
                inner(threads)
            elif guard.any():
                chosen = np.flatnonzero(guard)
                part = threads.subset(chosen, reads)
                inner(part)
                threads.merge(part, chosen, writes)

        return execute

    def drop_local_writes(self) -> None:
        """Registers that only one block uses, after writing them, need not be kept when a part of the threads leaves it."""
        users: Counter[int] = Counter()
        for block in self.blocks:
            users.update(block.reads | block.writes)
        needed: set[int] = set()
        for block in self.blocks:
            needed |= block.reads
        for block in self.blocks:
            block.writes &= needed


def _names(instruction: Instruction) -> Iterable[str]:
    """Every register and variable that an instruction mentions."""
    if instruction.guard:
        yield instruction.guard
    for operand in instruction.operands:
        if isinstance(operand, Address):
            yield operand.base
        elif isinstance(operand, Vector):
            yield from operand.elements
        elif isinstance(operand, str):
            yield from (part.strip(" !") for part in operand.split("|"))
