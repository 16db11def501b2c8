"""Bessel functions and their like, and orthogonal polynomials: torch.special, of which torch itself has `i0`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytorch.ir import orthogonal_polynomials
from lazytorch.ir.declaration import Declaration
from lazytorch.ir.dialects import special, special_functions, tensor
from lazytorch.ops.elementwise import DIV
from lazytorch.ops.recording import FUNCTIONS, apply, cast, emit, floating, place, result, takes_out, torch_function
from lazytorch.tensor import Tensor, value

SPECIAL: dict[str, Callable[..., Tensor]] = {}
"""The functions by their names in torch.special, with `out=`."""


def _of_one_number(declaration: Declaration) -> Callable[..., Tensor]:
    operator = declaration.operator()

    def function(input: Tensor) -> Tensor:
        return apply(operator, cast(value(input), floating(input)))

    function.__name__ = declaration.name.partition(".")[2]
    function.__doc__ = f"Elementwise: {declaration.documentation}."
    return function


for _declaration in (
    special_functions.airy_ai,
    special_functions.bessel_j0,
    special_functions.bessel_j1,
    special_functions.bessel_y0,
    special_functions.bessel_y1,
    special_functions.erfcx,
    special_functions.i0e,
    special_functions.i1,
    special_functions.i1e,
    special_functions.log_ndtr,
    special_functions.modified_bessel_k0,
    special_functions.modified_bessel_k1,
    special_functions.ndtri,
    special_functions.scaled_modified_bessel_k0,
    special_functions.scaled_modified_bessel_k1,
    special_functions.spherical_bessel_j0,
):
    _function = _of_one_number(_declaration)
    SPECIAL[_function.__name__] = takes_out(_function)
torch_function("i0", inplace=True)(_of_one_number(special_functions.i0))
SPECIAL["i0"] = FUNCTIONS["i0"]
for _order, _name in ((special_functions.i0, "modified_bessel_i0"), (special_functions.i1, "modified_bessel_i1")):
    _function = _of_one_number(_order)
    _function.__name__ = _name
    SPECIAL[_name] = takes_out(_function)


def zeta(input: Any, other: Any) -> Tensor:
    """The Hurwitz zeta function: the sum of (k + other)^-input over k = 0, 1, ..."""
    place()
    return result(emit(special.zeta, *DIV.operands(input, other)), input, other)


SPECIAL["zeta"] = takes_out(zeta)

# -- orthogonal polynomials ------------------------------------------------------------


def _polynomial(kind: str) -> Callable[..., Tensor]:
    operator = special.polynomial.operator(kind=kind)

    def function(input: Any, n: Any) -> Tensor:
        place()
        x, degree = [emit(tensor.detach, node) for node in DIV.operands(input, n)]
        return apply(operator, x, degree)

    function.__name__ = kind
    function.__doc__ = f"Elementwise: the polynomial `{kind}` of degree n, without a derivative."
    return function


for _name in orthogonal_polynomials.FAMILIES:
    SPECIAL[_name] = takes_out(_polynomial(_name))
