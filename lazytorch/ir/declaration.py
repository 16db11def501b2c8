"""What an operation is, said once.

A `Declaration` is one operation name with everything the compiler must know about it: type inference with the error a
user should see, vector-Jacobian product, NumPy meaning, decomposition, folding, traits. An `Operator` is a declaration with
attributes, interned. A `Signature` is an operator with operand types, interned: everything static about a recorded
operation. The recorded trace and the IR proper are built from the same declarations; values of both kinds know how to
emit another operation beside themselves (`value.builder`), so a rule written once serves both.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lazytorch.ir.types import TensorType, TupleType, Type

if TYPE_CHECKING:
    import numpy as np


RESULT = -1
"""Among operand positions: the result of the operation."""


class Trait(enum.Enum):
    """Facts that generic code dispatches on."""

    PURE = "pure"  # no effect: may be removed, merged and recomputed
    ELEMENTWISE = "elementwise"  # operands broadcast as in NumPy; result element i reads operand elements i
    COMMUTATIVE = "commutative"
    VIEW = "view"  # moves or repeats elements of its first operand and computes nothing
    REDUCTION = "reduction"
    CONTRACTION = "contraction"
    COMPOSITE = "composite"  # defined by its decomposition
    TILED = "tiled"  # defined by its decomposition, but of the targets some have a schedule that needs less memory
    CONSTANT = "constant"
    TERMINATOR = "terminator"
    LINEAR = "linear"  # derivatives read no values: they can be taken again after a backward that freed its graph
    ADDITIVE = "additive"  # f(a + b) = f(a) + f(b) for its floating operands together: it is its own forward derivative
    EXPENSIVE = "expensive"  # never worth computing twice
    TRANSFER = "transfer"  # the result is on another device than the operand
    WIRTINGER = "wirtinger"  # its derivative rules are those for complex numbers
    HOST = "host"  # no schedule: the program calls the NumPy meaning as a step of its own

    __hash__ = object.__hash__  # by identity: an enumeration's own hash is a call of Python code


class Builder(Protocol):
    """Something that can add an operation: the trace, an IR insertion point, or NumPy itself."""

    def emit(self, operator: Operator, operands: Sequence[Any]) -> Any:
        """Add one operation; its result value, or a tuple of them for an operation of several results."""

    def constant(self, value: Any, like: Any) -> Any:
        """A scalar constant of `like`'s element type (inside kernels: of `like`'s type)."""


Infer = Callable[..., Type | tuple[Type, ...]]
Rule = Callable[..., Any]


@dataclass(frozen=True)
class Example:
    """A use of an operation: the types of its operands as text, its attributes. The reference and tests start from it."""

    operands: tuple[str, ...]
    attributes: dict[str, Any]


def example(*operands: str, **attributes: Any) -> Example:
    """An example for a declaration: `example("tensor<2x3xf32>", order=(1, 0))`."""
    return Example(operands, attributes)


def leading(change: Callable[[Attributes, int], dict[str, Any]] | None = None) -> Rule:
    """A batching rule: the same operation, every operand with the batch as one more leading dimension.

    change(attributes, batch size) -> the attributes that are different then; None: all stay as they are.
    """

    def rule(operation: Any) -> Any:
        changed = {} if change is None else change(operation.attributes, operation.size)
        return operation.again(operation.leading(), **changed)

    return rule


class Declaration:
    """One operation. Calling it emits it: `arith.mul(x, 2.0)`, `tensor.permute(x, order=(1, 0))`.

    infer(attributes, *operand_types) -> result type or tuple of them; raises torch's exception with torch's wording.
    vjp: one rule per operand (None: not differentiable there), each `rule(operation, cotangent) -> cotangent of the
        operand`, or one joint rule `rule(operation, cotangent) -> tuple`. `operation` offers operands, attributes and
        result.
        A cotangent whose shape is the broadcast of the operand's is summed to it by the caller.
    reference(attributes, *arrays) -> array(s): the meaning, in NumPy.
    decompose(operation) -> value(s) equal to the operation's results, built from other operations.
    fold(attributes, *constant operands or None) -> constant, value or None.
    batch(operation) -> the result(s) for a batch of operands (see ir/batching.py and `leading`). Elementwise operations need
        none, and neither do composites: their decomposition has one.
    gradient_name: torch's name of the autograd node, without "Backward0".
    saves: the operands (by position) and results (`RESULT`) whose values torch keeps for the derivative, where `vjp` reads
        others; by default what `vjp` reads (see ir/saved.py).
    example: a use of the operation, or a module's text where it has regions. An operation of floating-point tensors
        without obligatory attributes needs none (see ir/examples.py).
    """

    __slots__ = (
        "_operators",
        "_plain",
        "attribute_names",
        "batch",
        "canonicalizations",
        "decompose",
        "defaults",
        "documentation",
        "example",
        "fold",
        "gradient_name",
        "infer",
        "name",
        "reference",
        "saves",
        "traits",
        "vjp",
    )

    def __init__(
        self,
        name: str,
        infer: Infer,
        *,
        attributes: Sequence[str] = (),
        defaults: dict[str, Any] | None = None,
        traits: Iterable[Trait] = (Trait.PURE,),
        vjp: Sequence[Rule | None] | Rule | None = None,
        reference: Callable[..., np.ndarray | tuple[np.ndarray, ...]] | None = None,
        decompose: Rule | None = None,
        fold: Rule | None = None,
        batch: Rule | None = None,
        gradient_name: str = "",
        saves: Sequence[int] | None = None,
        example: Example | str | None = None,
        doc: str = "",
    ) -> None:
        if name in _REGISTRY:
            raise ValueError(f"operation {name} is declared twice")
        self.name = name
        self.infer = infer
        self.attribute_names = tuple(attributes)
        self.defaults = defaults or {}
        self.traits = frozenset(traits)
        self.vjp = tuple(vjp) if isinstance(vjp, list | tuple) else vjp
        self.reference = reference
        self.decompose = decompose
        self.fold = fold
        self.batch = batch
        self.gradient_name = gradient_name
        self.saves = saves
        self.documentation = doc
        self.example = example
        self.canonicalizations: list[Rule] = []
        self._operators: dict[Any, Operator] = {}
        self._plain: Operator | None = None
        _REGISTRY[name] = self

    def operator(self, label: str = "", **attributes: Any) -> Operator:
        """The interned operator with these attributes. `label` names the torch call for dumps and `grad_fn`."""
        if not attributes and not label:
            plain = self._plain
            if plain is not None:
                return plain
        key = (label, *[attribute_key(attributes.get(name, self.defaults.get(name))) for name in self.attribute_names])
        found = self._operators.get(key)
        if found is None:
            unknown = set(attributes) - set(self.attribute_names)
            if unknown:
                raise TypeError(f"{self.name} has no attribute {sorted(unknown)}")
            values = {name: attributes.get(name, self.defaults.get(name)) for name in self.attribute_names}
            found = self._operators[key] = Operator(self, Attributes(values), label)
        if not attributes and not label:
            self._plain = found
        return found

    def __call__(self, *operands: Any, **attributes: Any) -> Any:
        """Emit the operation beside its operands; Python numbers among them become constants."""
        operator = self.operator(**attributes)
        anchor = None
        plain = False
        for operand in operands:
            if type(operand) in _PYTHON_NUMBERS:
                plain = True
            else:
                anchor = operand  # the last one: the condition of a select says nothing about its constants' type
        if anchor is None:
            raise TypeError(f"{self.name}: needs a value among its operands; use build(builder, ...)")
        if plain:
            builder = anchor.builder
            operands = tuple([builder.constant(x, anchor) if type(x) in _PYTHON_NUMBERS else x for x in operands])
        return anchor.builder.emit(operator, operands)

    def build(self, builder: Builder, *operands: Any, **attributes: Any) -> Any:
        """Emit the operation through a builder (for operations without operands)."""
        return builder.emit(self.operator(**attributes), operands)

    def canonicalization(self, rule: Rule) -> Rule:
        """Decorator: a rewrite `rule(operation, rewriter) -> bool` on this operation, run by the canonicalize pass."""
        self.canonicalizations.append(rule)
        return rule

    def has(self, trait: Trait) -> bool:
        """Whether the operation has the trait."""
        return trait in self.traits

    def __repr__(self) -> str:
        return f"<declaration {self.name}>"


_PYTHON_NUMBERS = frozenset((int, float, bool, complex))
_REGISTRY: dict[str, Declaration] = {}


_INTEGERS = frozenset((int,))


def attribute_key(value: Any) -> Any:
    """A dictionary key that keeps 1, 1.0 and True, 0.0 and -0.0, and nan apart."""
    if isinstance(value, tuple):
        return value if _INTEGERS.issuperset(map(type, value)) else tuple([attribute_key(item) for item in value])
    if isinstance(value, float | complex):
        return (type(value), repr(value))
    if isinstance(value, bool):
        return (bool, value)
    return value


class Attributes:
    """Immutable attributes, read as fields: `operation.attributes.order`."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no attribute {name!r} among {sorted(self._values)}") from None

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, value) pairs in the declaration's order."""
        return self._values.items()

    def as_dict(self) -> dict[str, Any]:
        """A copy as a dictionary."""
        return dict(self._values)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name} = {value!r}" for name, value in self._values.items()) + "}"


class Operator:
    """A declaration with attributes, interned. `by_one` ... map operand types to signatures: the inference cache."""

    __slots__ = ("attributes", "by_many", "by_one", "by_two", "declaration", "label")

    def __init__(self, declaration: Declaration, attributes: Attributes, label: str) -> None:
        self.declaration = declaration
        self.attributes = attributes
        self.label = label
        self.by_one: dict[Type, Signature] = {}
        self.by_two: dict[Type, dict[Type, Signature]] = {}
        self.by_many: dict[tuple[Type, ...], Signature] = {}

    def signature(self, *operand_types: Type) -> Signature:
        """The interned signature for these operand types; infers on first use and raises the user's error."""
        found = self.by_many.get(operand_types)
        if found is None:
            found = Signature(self, operand_types, self.infer(*operand_types))
            self.by_many[operand_types] = found
            if len(operand_types) == 1:
                self.by_one[operand_types[0]] = found
            elif len(operand_types) == 2:
                self.by_two.setdefault(operand_types[0], {})[operand_types[1]] = found
        return found

    def infer(self, *operand_types: Type) -> Type:
        """The result type (a TupleType for several results), which is on the operands' device. Raises RuntimeError for
        operands on several devices; numbers (tensors of rank 0 on the CPU) go with any."""
        apart = self.declaration.has(Trait.TRANSFER) or self.declaration.has(Trait.TERMINATOR)
        device = None if apart else _common_device(operand_types)
        if device is not None:
            operand_types = tuple([_on(type, None) for type in operand_types])
        inferred = self.declaration.infer(self.attributes, *operand_types)
        if device is not None:
            inferred = tuple([_on(x, device) for x in inferred]) if isinstance(inferred, tuple) else _on(inferred, device)
        return TupleType(inferred) if isinstance(inferred, tuple) else inferred

    def __repr__(self) -> str:
        return f"<operator {self.declaration.name} {self.attributes}>"


def _on(type: Type, device: str | None) -> Type:
    return type.on(device) if isinstance(type, TensorType) else type


def _common_device(types: Sequence[Type]) -> str | None:
    """The device that all operands are on (None: the CPU). Raises torch's RuntimeError."""
    devices = {type.device: None for type in types if type.device is not None}
    if not devices:
        return None
    if len(devices) > 1 or any(type.device is None and type.shape for type in types):
        first, second = [*devices, "cpu"][:2]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!"
        )
    return next(iter(devices))


def is_differentiable(type: Type) -> bool:
    """Whether gradients can flow to a value of this type: integers and bools have none."""
    return isinstance(type, TupleType) or type.dtype.kind in "fc"


class Signature:
    """An operator with its operand types. `id` is its number in program keys. `differentiable` says whether gradients can
    flow to the result: it is of floating numbers, and there is an operand that they would flow on to. `custom` holds the
    user's own rules for it beside `vjp`, if there are any (ir/transformations.py)."""

    __slots__ = ("custom", "differentiable", "id", "linear", "operand_types", "operator", "result_type", "vjp")

    def __init__(self, operator: Operator, operand_types: tuple[Type, ...], result_type: Type) -> None:
        self.operator = operator
        self.operand_types = operand_types
        self.result_type = result_type
        vjp = operator.declaration.vjp
        self.vjp = vjp if _is_real(self) or vjp is None else _conjugated(vjp)
        self.custom: Any = None
        flows = vjp is None or callable(vjp) or any(rule is not None for rule in vjp)
        self.differentiable = flows and is_differentiable(result_type)
        self.linear = operator.declaration.has(Trait.LINEAR)
        self.id = len(_SIGNATURES)
        _SIGNATURES.append(self)

    def __repr__(self) -> str:
        operands = ", ".join(map(repr, self.operand_types))
        return f"<{self.operator.declaration.name}({operands}) -> {self.result_type}>"


def _is_real(signature: Signature) -> bool:
    """Whether rules for real numbers do: no type is complex, or the operation's rules are those for complex numbers."""
    if signature.operator.declaration.has(Trait.WIRTINGER):
        return True
    types = [*signature.operand_types, signature.result_type]
    return not any(getattr(getattr(x, "dtype", None), "kind", "") == "c" for x in types)


def _conjugate(x: Any) -> Any:
    return _REGISTRY["complex.conj"](x) if x is not None and x.type.dtype.kind == "c" else x


def _conjugated(rules: Sequence[Rule | None] | Rule) -> Any:
    """Rules of a holomorphic function, g times its derivative, as g times the conjugate of it: conj(rule(conj(g)))."""
    if callable(rules):
        joint = rules
        return lambda op, g: tuple([_conjugate(x) for x in joint(op, _conjugate(g))])

    def one(rule: Rule | None) -> Rule | None:
        return None if rule is None else lambda op, g: _conjugate(rule(op, _conjugate(g)))

    return tuple([one(rule) for rule in rules])


_SIGNATURES: list[Signature] = []


def signature_by_id(identity: int) -> Signature:
    """The signature with this number."""
    return _SIGNATURES[identity]


def declaration_named(name: str) -> Declaration:
    """The declaration of an operation name. Raises KeyError for an unknown operation."""
    return _REGISTRY[name]


def all_declarations() -> list[Declaration]:
    """Every declared operation, by name."""
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]
