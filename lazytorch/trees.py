"""Nested tuples, lists and dictionaries as flat lists and back: what functions of `torch.func` take and return."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

_NAMES: dict[type, str] = {
    tuple: "tuple",
    list: "list",
    dict: "dict",
    OrderedDict: "OrderedDict",
    defaultdict: "defaultdict",
}


class Structure:
    """How a tree is built: `kind` is None for a leaf; `context` the keys of a dictionary or the class of a named tuple."""

    __slots__ = ("children", "context", "kind", "size")

    def __init__(self, kind: type | None, context: Any, children: Sequence[Structure]) -> None:
        self.kind = kind
        self.context = context
        self.children = tuple(children)
        self.size: int = 1 if kind is None else sum(child.size for child in self.children)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The tree with these leaves."""
        if self.kind is None:
            return leaves[0]
        parts, at = [], 0
        for child in self.children:
            parts.append(child.build(leaves[at : at + child.size]))
            at += child.size
        if self.kind in (dict, OrderedDict):
            return self.kind(zip(self.context, parts, strict=True))
        if self.kind is defaultdict:
            return defaultdict(self.context[0], zip(self.context[1], parts, strict=True))
        return self.context(*parts) if self.context is not None else self.kind(parts)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Structure)
            and (self.kind, self.context) == (other.kind, other.context)
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        return f"TreeSpec({_NAMES[self.kind]}, {self.context}, [{', '.join(map(repr, self.children))}])"


LEAF = Structure(None, None, ())


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves from left to right (dictionaries in the order of their keys), and the structure around them."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _parts(tree: Any) -> tuple[type, Any, Sequence[Any]] | None:
    """Kind, context and children of a tree; None for a leaf."""
    kind = type(tree)
    if kind in (dict, OrderedDict):
        return kind, tuple(tree), tuple(tree.values())
    if kind is defaultdict:
        return kind, (tree.default_factory, tuple(tree)), tuple(tree.values())
    if kind in (tuple, list):
        return kind, None, tree
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return tuple, kind, tree
    return None


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    parts = _parts(tree)
    if parts is None:
        leaves.append(tree)
        return LEAF
    kind, context, children = parts
    return Structure(kind, context, [_flatten(child, leaves) for child in children])


def broadcast(prefix: Any, structure: Structure) -> list[Any] | None:
    """The leaves of `prefix` for each leaf of the structure: one stands for all below it. None where it does not fit."""
    parts = _parts(prefix)
    if parts is None:
        return [prefix] * structure.size
    kind, context, children = parts
    if (kind, context) != (structure.kind, structure.context) or len(children) != len(structure.children):
        return None
    out: list[Any] = []
    for child, below in zip(children, structure.children, strict=True):
        found = broadcast(child, below)
        if found is None:
            return None
        out += found
    return out


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with the function applied to every leaf."""
    leaves, structure = flatten(tree)
    return structure.build([function(leaf) for leaf in leaves])
