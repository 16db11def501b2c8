"""`integers`: number theory by the element: host operations, since each is a loop as long as its numbers ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytorch.ir.declaration import Attributes, Declaration, Trait
from lazytorch.ir.dialects import arith
from lazytorch.ir.types import Type


def _declare(name: str, meaning: Callable[..., Any], doc: str) -> Declaration:
    def infer(attributes: Attributes, a: Type, b: Type) -> Type:
        if a.dtype.kind not in "ui" or a.dtype is not b.dtype:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{a.dtype.torch_name.title()}'")
        return arith.elementwise_type(a, b)

    return Declaration(
        f"integers.{name}",
        infer,
        traits=(Trait.PURE, Trait.HOST, Trait.EXPENSIVE),
        batch=lambda op: op.again(op.aligned(len(op.result_type.shape))),
        reference=lambda attributes, a, b: meaning(a, b),
        doc=doc,
    )


gcd: Declaration = _declare("gcd", np.gcd, "the greatest common divisor of two integers, never negative")
lcm: Declaration = _declare("lcm", np.lcm, "the least common multiple of two integers, never negative")
