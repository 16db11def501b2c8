"""Calls become copies of the called function, so that a kernel is one list of instructions."""

from dataclasses import dataclass, field, replace

from lazytorch.runtime.ptx_emulator.errors import PtxError
from lazytorch.runtime.ptx_emulator.parser import (
    Address,
    BranchTargets,
    Function,
    Group,
    Instruction,
    Label,
    Operand,
    ParsedModule,
    Variable,
    Vector,
)
from lazytorch.runtime.ptx_emulator.types import Type

Item = Instruction | Label | BranchTargets


@dataclass(slots=True)
class FlatKernel:
    """A kernel without calls: its items, registers and variables, those of called functions under new names."""

    function: Function
    items: list[Item] = field(default_factory=list)
    registers: dict[str, Type] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    call_parameters: set[str] = field(default_factory=set)


def flatten(module: ParsedModule, kernel: Function) -> FlatKernel:
    """The kernel with every call inlined. Raises PtxError for recursion and for functions without a definition."""
    flat = FlatKernel(kernel)
    _Inliner(module, flat).body(kernel, "", {}, ())
    return flat


class _Inliner:
    def __init__(self, module: ParsedModule, flat: FlatKernel) -> None:
        self.module, self.flat = module, flat
        self.calls = 0
        self.skips = 0

    def body(self, function: Function, prefix: str, names: dict[str, str], active: tuple[str, ...]) -> None:
        """Append a function's body; `names` maps its parameters to the caller's variables."""
        flat = self.flat
        names = dict(names)
        if prefix:
            names.update((name, prefix + name) for name in function.registers)
            names.update((variable.name, prefix + variable.name) for variable in function.variables)
            names.update(
                (item.name, prefix + item.name) for item in function.body if isinstance(item, Label | BranchTargets)
            )
        flat.registers.update((names.get(name, name), kind) for name, kind in function.registers.items())
        for variable in function.variables:
            renamed = replace(variable, name=names.get(variable.name, variable.name))
            if variable.space == "param":
                flat.call_parameters.add(renamed.name)
            else:
                flat.variables.append(renamed)
        end = f"{prefix}<end>"
        for item in function.body:
            self.item(item, function, prefix, names, active, end)
        if prefix:
            flat.items.append(Label(end))

    def item(
        self, item: Item, function: Function, prefix: str, names: dict[str, str], active: tuple[str, ...], end: str
    ) -> None:
        items = self.flat.items
        if not names and not (isinstance(item, Instruction) and item.opcode == "call"):
            items.append(item)
        elif isinstance(item, Label):
            items.append(Label(names.get(item.name, item.name)))
        elif isinstance(item, BranchTargets):
            labels = tuple(names.get(label, label) for label in item.labels)
            items.append(BranchTargets(names.get(item.name, item.name), labels))
        elif item.opcode == "call":
            self.call(item, prefix, names, (*active, function.name))
        elif item.opcode == "ret" and prefix:
            guard = names.get(item.guard, item.guard) if item.guard else None
            items.append(item._replace(opcode="bra", modifiers=(), operands=(end,), guard=guard))
        else:
            operands = tuple(_rename(operand, names) for operand in item.operands)
            guard = names.get(item.guard, item.guard) if item.guard else None
            items.append(item._replace(operands=operands, guard=guard))

    def call(self, call: Instruction, prefix: str, names: dict[str, str], active: tuple[str, ...]) -> None:
        location = call.location
        groups = [operand.names for operand in call.operands if isinstance(operand, Group)]
        targets = [operand for operand in call.operands if isinstance(operand, str)]
        function = self.module.functions.get(targets[0]) if targets else None
        if function is None:
            raise PtxError("call of a function that the module does not define", location.line, location.text)
        if function.name in active:
            raise PtxError("recursive calls are not supported", location.line, location.text)
        expected = ([function.results] if function.results else []) + ([function.parameters] if function.parameters else [])
        if [len(group) for group in groups if group] != [len(variables) for variables in expected]:
            raise PtxError("the call does not fit the function's parameters", location.line, location.text)
        self.calls += 1
        inner = {
            variable.name: names.get(name, name)
            for group, variables in zip((group for group in groups if group), expected, strict=True)
            for name, variable in zip(group, variables, strict=True)
        }
        if call.guard:
            skip = f"<call {self.calls}>"
            guard = names.get(call.guard, call.guard)
            self.flat.items.append(
                call._replace(opcode="bra", modifiers=(), operands=(skip,), guard=guard, negated=not call.negated)
            )
        self.body(function, f"{prefix}{function.name}#{self.calls}:", inner, active)
        if call.guard:
            self.flat.items.append(Label(skip))


def _rename(operand: Operand, names: dict[str, str]) -> Operand:
    if isinstance(operand, Address):
        return Address(names.get(operand.base, operand.base), operand.offset)
    if isinstance(operand, Vector):
        return Vector(tuple(names.get(element, element) for element in operand.elements))
    if isinstance(operand, Group):
        return operand
    if "|" in operand:
        return "|".join(names.get(part.strip(), part.strip()) for part in operand.split("|"))
    if operand.startswith("!"):
        return "!" + names.get(operand[1:], operand[1:])
    return names.get(operand, operand)
