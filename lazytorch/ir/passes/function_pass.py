"""What transformations of functions with respect to some of their arguments have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lazytorch.errors import PassError
from lazytorch.ir.core import Operation, Value, func
from lazytorch.ir.passes.registry import Pass


@dataclass(frozen=True)
class FunctionPass(Pass):
    """A pass on the function `func` (by default on all) and its arguments `inputs`: names or numbers with commas between
    them, by default all that fit."""

    func: str = ""
    inputs: str = ""

    def run_on(self, bodies: Sequence[Operation]) -> None:
        """Transform the functions among the bodies. Raises PassError where `func` is none of them."""
        functions = [body for body in bodies if body.declaration is func and self.func in ("", body.attributes.name)]
        if self.func and not functions:
            raise PassError(f"{self}: there is no function @{self.func}")
        for body in functions:
            self.run(body)

    def chosen(self, function: Operation, fits: Callable[[Value], bool], kind: str) -> list[Value]:
        """The arguments that `inputs` names, each of which must fit. Raises PassError saying that it is no `kind` one."""
        arguments = function.region.block.arguments
        if not self.inputs:
            return [argument for argument in arguments if fits(argument)]
        found = []
        for word in self.inputs.split(","):
            named = [x for x in arguments if word == str(x.index) or (word and word == x.name)]
            if not named or not fits(named[0]):
                known = ", ".join(f"%{x.name or x.index}" for x in arguments if fits(x)) or "none"
                name = function.attributes.name
                raise PassError(f"{self}: {word!r} is no {kind} argument of @{name}; there are {known}")
            found.append(named[0])
        return found


def differentiable(value: Value) -> bool:
    """Whether derivatives flow through a value of this type."""
    return value.type.dtype.kind in "fc"
