"""Nested containers as lists of leaves (torch.utils._pytree), as far as libraries use it: tuples, lists, dicts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class TreeSpec(NamedTuple):
    """The structure of a container: its type, what rebuilds it beside its children, and theirs. A leaf has no type."""

    type: Any
    context: Any
    children_specs: list[TreeSpec]

    @property
    def num_leaves(self) -> int:
        """How many leaves the structure has."""
        return 1 if self.type is None else sum(child.num_leaves for child in self.children_specs)


LeafSpec = TreeSpec(None, None, [])


def _children(tree: Any) -> tuple[Sequence[Any], Any] | None:
    """The children of a container and what else rebuilds it; None for a leaf."""
    if type(tree) in (dict, OrderedDict):
        return list(tree.values()), list(tree)
    if type(tree) in (tuple, list) or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return tree, None
    return None


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves in order, and the structure that `tree_unflatten` needs."""
    parts = None if is_leaf is not None and is_leaf(tree) else _children(tree)
    if parts is None:
        return [tree], LeafSpec
    leaves: list[Any] = []
    specs = []
    for child in parts[0]:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(type(tree), parts[1], specs)


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The container of a structure with these leaves. Raises ValueError when there are more or fewer."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
            f"holds {treespec.num_leaves} items ({treespec})."
        )
    return _built(iter(leaves), treespec)


def _built(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    children = [_built(leaves, child) for child in spec.children_specs]
    if spec.context is not None:
        return spec.type(zip(spec.context, children, strict=True))
    return spec.type(*children) if hasattr(spec.type, "_fields") else spec.type(children)


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The container with every leaf replaced by `func` of it (and of the leaves of `rests` in its place)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [tree_leaves(rest, is_leaf) for rest in rests]
    return tree_unflatten([func(*group) for group in zip(leaves, *others, strict=True)], spec)


def tree_map_only(kind: Any, func: Callable[[Any], Any], tree: Any) -> Any:
    """The container with `func` of every leaf that is an instance of `kind`, and the other leaves as they are."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree)
