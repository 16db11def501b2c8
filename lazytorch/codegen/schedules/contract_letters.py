"""How the letters of a contraction become loops: what its schedules on every target begin with."""

from __future__ import annotations

import math

import numpy as np

from lazytorch.codegen.expression import Expression, Leaf, collapse, pull, tensor_type
from lazytorch.codegen.views import contiguous, offsets
from lazytorch.errors import CompileError
from lazytorch.ir.core import Operation, Value


class Letters:
    """How the letters of one contraction are divided into batch, rows (M), columns (N) and depth (K).

    Columns are the trailing letters of the result. Letters of the right operand that have no common stride with them are
    `outer`: loops over columns that share the left operand. Operand 0 is the left one, which has the rows.
    """

    def __init__(self, contraction: Operation, expression: Expression) -> None:
        self.contraction = contraction
        self.expression = expression
        a = contraction.attributes
        self.out = a.out
        lhs, rhs = contraction.operands
        self.sizes: dict[str, int] = {}
        for letters, value in ((a.lhs, lhs), (a.rhs, rhs)):
            self.sizes.update(zip(letters, tensor_type(value).shape, strict=True))
            lonely = set(letters) - set(a.out) - (set(a.lhs) & set(a.rhs))
            if lonely:
                raise CompileError(f"contract: letters {sorted(lonely)} are in one operand only", stage="schedule")
        last = next((letter for letter in reversed(a.out) if self.sizes[letter] > 1), a.out[-1:])
        swap = last in a.lhs and last not in a.rhs
        left, right = ((a.rhs, rhs), (a.lhs, lhs)) if swap else ((a.lhs, lhs), (a.rhs, rhs))
        # In the order of lhs, whichever side it is: it decides the order of accumulation (ir/accumulation.py).
        self.k_letters = "".join(x for x in a.lhs if x in a.rhs and x not in a.out)
        self.leaves = [_leaf(value) for value in (left[1], right[1])]
        self.strides = [
            dict(zip(letters, leaf.access.strides, strict=True))
            for letters, leaf in zip((left[0], right[0]), self.leaves, strict=True)
        ]
        self._divide({x for x in left[0] if x not in right[0]}, {x for x in right[0] if x not in left[0]})

    def _divide(self, own_m: set[str], own_n: set[str]) -> None:
        """Runs of letters that have one stride in the result and everywhere in the epilogue, as M, N, batch and outer."""
        shape = [self.sizes[x] for x in self.out]
        strides = [contiguous(tuple(shape)).strides, *[leaf.access.strides for leaf in self.expression.leaves]]
        groups = collapse(shape, strides, frozenset(self._borders(own_m, own_n)))
        names = ["".join(self.out[d] for d in group) for group in groups]
        self.n_letters = names.pop() if names and names[-1][0] in own_n else ""
        runs = [name for name in names if name[0] in own_m]
        self.m_letters = max(runs, key=self.size, default="")
        self.regroup(names)
        # Letters that an operand holds in another order have no common stride: each is a loop of its own.
        rest = [part for name in names if name != self.m_letters for part in ([name] if self._together(name) else name)]
        self.outer_groups = [name for name in rest if name[0] in own_n]
        self.batch_groups = [name for name in rest if name[0] not in own_n]

    def regroup(self, names: list[str]) -> None:
        """Change the division before the loops around the product are made of what is left; `names`: the runs but N."""

    def _borders(self, own_m: set[str], own_n: set[str]) -> list[int]:
        kinds = [0 if x in own_m else 1 if x in own_n else 2 for x in self.out]
        return [d for d in range(1, len(kinds)) if kinds[d] != kinds[d - 1]]

    def _together(self, letters: str) -> bool:
        """Whether consecutive letters have one stride in both operands."""
        return all(self.single(letters, stride) is not None for stride in self.strides)

    def size(self, letters: str) -> int:
        """The number of index values of several letters."""
        return math.prod([self.sizes[letter] for letter in letters])

    def single(self, letters: str, stride: dict[str, int]) -> int | None:
        """The one stride of consecutive letters, or None."""
        groups = collapse([self.sizes[x] for x in letters], [[stride.get(x, 0) for x in letters]])
        if len(groups) > 1:
            return None
        return stride.get(letters[groups[0][-1]], 0) if groups else 0

    def table(self, letters: str, stride: dict[str, int]) -> np.ndarray:
        """The offset of every index of consecutive letters, in row-major order."""
        return offsets([(self.sizes[letter], stride.get(letter, 0)) for letter in letters])


def _leaf(value: Value) -> Leaf:
    """The strided read that an operand is."""
    one = pull([value], tensor_type(value).shape)
    if len(one.entries) != 1 or one.entries[0][0] != "leaf" or one.leaves[0].value is None:
        raise CompileError("contract: an operand is no view of a buffer", stage="schedule")
    return one.leaves[0]
