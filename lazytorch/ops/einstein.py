"""torch.einsum: any number of operands, contracted from the left, with ellipses, diagonals and broadcasting."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from lazytorch.ir.dialects import tensor
from lazytorch.ir.trace import Node
from lazytorch.ops.recording import emit, place, result, torch_function
from lazytorch.tensor import Tensor, value


@torch_function("einsum", method=False, out=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Einstein summation: `einsum("bij,bjk->bik", a, b)`, or with lists of numbers, `einsum(a, [0, 1], b, [1, 2], [0, 2])`.

    A letter twice in one operand takes the diagonal, `...` stands for broadcast dimensions. Raises RuntimeError for an
    equation that does not fit the operands.
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else list(operands)
    place()
    nodes = [value(x) for x in tensors]
    terms, right = _parsed(equation.replace(" ", ""), [node.type.rank for node in nodes])
    taken = [_diagonal(node, term, number) for number, (node, term) in enumerate(zip(nodes, terms, strict=True))]
    return result(_contracted(_broadcast(taken), right))


def _from_lists(arguments: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The form with alternating tensors and lists of dimension numbers, as an equation."""
    count = len(arguments) // 2
    texts = ["".join("..." if x is Ellipsis else string.ascii_letters[x] for x in part) for part in arguments[1::2]]
    equation = ",".join(texts)
    if len(arguments) % 2:
        last = "".join("..." if x is Ellipsis else string.ascii_letters[x] for x in arguments[-1])
        equation += f"->{last}"
    return equation, tuple(arguments[: 2 * count : 2])


def _parsed(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result, an ellipsis spelled out in letters of its own."""
    left, arrow, right = equation.partition("->")
    for position, letter in enumerate(left.replace("...", "aaa").replace(",", "a")):
        if letter not in string.ascii_letters:
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {position} in the equation string, subscripts must be in "
                "[a-zA-Z]"
            )
    terms = left.split(",")
    if len(terms) != len(ranks):
        amount = "more" if len(ranks) > len(terms) else "fewer"
        raise RuntimeError(f"einsum(): {amount} operands were provided than specified in the equation")
    free = [x for x in string.ascii_letters if x not in equation]
    widest = 0
    for number, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        named = len(term.replace("...", ""))
        _check_rank(term, named, rank, number)
        widest = max(widest, rank - named)
    broadcast = "".join(free[:widest])
    spelled = []
    for term, rank in zip(terms, ranks, strict=True):
        missing = rank - len(term.replace("...", ""))
        spelled.append(term.replace("...", broadcast[widest - missing :] if missing else ""))
    if not arrow:
        once = sorted(x for x in set(left) - set(",.") if left.count(x) == 1)
        return spelled, broadcast + "".join(once)
    right = right.replace("...", broadcast)
    for letter in right:
        if right.count(letter) > 1:
            raise RuntimeError(f"einsum(): output subscript {letter} appears more than once in the output")
        if not any(letter in term for term in spelled):
            raise RuntimeError(f"einsum(): output subscript {letter} does not appear in the equation for any input operand")
    return spelled, right


def _check_rank(term: str, named: int, rank: int, number: int) -> None:
    if "..." in term:
        if named > rank:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) is more than the number of dimensions "
                f"({rank}) for operand {number}"
            )
    elif named != rank:
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) does not match the number of dimensions ({rank}) "
            f"for operand {number} and no ellipsis was given"
        )


def _diagonal(node: Node, term: str, number: int) -> tuple[Node, str]:
    """The operand with every letter once: of two dimensions with one letter the diagonal, at the end."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            shape = node.type.shape
            size = shape[first]
            if shape[second] != size:
                raise RuntimeError(
                    f"einsum(): subscript {letter} is repeated for operand {number} but the sizes don't match, "
                    f"{shape[second]} != {size}"
                )
            rest = [d for d in range(len(shape)) if d not in (first, second)]
            lead = tuple([shape[d] for d in rest])
            node = emit(tensor.permute, node, order=(*rest, first, second))
            node = emit(tensor.reshape, node, shape=(*lead, size * size))
            zeros, ones = (0,) * len(lead), (1,) * len(lead)
            node = emit(tensor.slice_, node, starts=(*zeros, 0), sizes=(*lead, size), steps=(*ones, size + 1))
            term = "".join(term[d] for d in rest) + letter
    return node, term


def _broadcast(operands: Sequence[tuple[Node, str]]) -> list[tuple[Node, str]]:
    """Without dimensions of size 1 where another operand has more under the same letter."""
    sizes: dict[str, int] = {}
    for number, (node, term) in enumerate(operands):
        for letter, size in zip(term, node.type.shape, strict=True):
            before = sizes.get(letter, 1)
            if before != 1 and size not in (1, before):
                raise RuntimeError(
                    f"einsum(): subscript {letter} has size {size} for operand {number} which does not broadcast with "
                    f"previously seen size {before}"
                )
            sizes[letter] = size if before == 1 else before
    out = []
    for node, term in operands:
        kept = [d for d, x in enumerate(term) if node.type.shape[d] == sizes[x]]
        if len(kept) < len(term):
            node = emit(tensor.reshape, node, shape=tuple([node.type.shape[d] for d in kept]))
            term = "".join(term[d] for d in kept)
        out.append((node, term))
    return out


def _contracted(operands: Sequence[tuple[Node, str]], right: str) -> Node:
    """The product of all operands, from the left, with the letters of `right`."""
    total, letters = operands[0]
    for position, (node, term) in enumerate(operands[1:], 2):
        later = set(right).union(*[other for _, other in operands[position:]])
        total, letters = _drop(total, letters, later | set(term))
        node, term = _drop(node, term, later | set(letters))
        both = letters + "".join(x for x in term if x not in letters)
        kept = "".join(x for x in both if x in later)
        total = emit(tensor.contract, total, node, label="View", lhs=letters, rhs=term, out=kept)
        letters = kept
    total, letters = _drop(total, letters, set(right))
    order = tuple([letters.index(x) for x in right])
    return emit(tensor.permute, total, label="Permute", order=order) if order != tuple(range(len(order))) else total


def _drop(node: Node, letters: str, kept: set[str]) -> tuple[Node, str]:
    """Sum over letters that nothing else names."""
    dims = tuple([d for d, x in enumerate(letters) if x not in kept])
    if not dims:
        return node, letters
    return emit(tensor.reduce_sum, node, label="Sum1", dims=dims), "".join(x for x in letters if x in kept)
