"""What every declaration of an operation must say, and that it says the same thing everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lazytorch import dtypes
from lazytorch.dtypes import DType
from lazytorch.ir.declaration import Declaration, Trait, all_declarations, declaration_named
from lazytorch.ir.dialects import load_all
from lazytorch.ir.types import TensorType, TupleType, Type

load_all()

ELEMENTWISE = [
    d
    for d in all_declarations()
    if d.has(Trait.ELEMENTWISE) and not d.has(Trait.COMPOSITE) and d.name.partition(".")[0] in ("arith", "math")
]
NUMBERS = (dtypes.float32, dtypes.float64, dtypes.int64, dtypes.uint8, dtypes.bool_)

SAMPLES: dict[str, list[tuple[dict[str, Any], list[tuple[int, ...]]]]] = {
    "tensor.reshape": [({"shape": (6,)}, [(2, 3)]), ({"shape": ()}, [(1, 1)])],
    "tensor.permute": [({"order": (2, 0, 1)}, [(2, 3, 4)]), ({"order": ()}, [()])],
    "tensor.expand": [({"shape": (5, 2, 3)}, [(2, 1)]), ({"shape": (0, 3)}, [(3,)])],
    "tensor.slice": [({"starts": (1, 0), "sizes": (2, 0), "steps": (2, 1)}, [(5, 3)])],
    "tensor.diagonal": [({"offset": 1}, [(2, 3, 4)]), ({"offset": -5}, [(3, 4)])],
    "tensor.as_strided": [({"shape": (2, 3), "strides": (1, 2), "offset": 1}, [(9,)])],
    "tensor.flip": [({"dims": (0, 1)}, [(2, 3)])],
    "tensor.alias": [({}, [(2, 3)])],
    "tensor.detach": [({}, [(2, 3)])],
    "tensor.transfer": [({"device": "cpu"}, [(2, 3)])],
    "tensor.window": [({"sizes": (2, 2), "strides": (1, 2), "dilations": (2, 1)}, [(3, 5, 6)])],
    "tensor.fold_windows": [({"shape": (3, 5, 6), "strides": (1, 2), "dilations": (2, 1)}, [(3, 3, 3, 2, 2)])],
    "tensor.pad": [({"low": (1, 0), "high": (0, 2), "interior": (2, 0), "value": 0.0}, [(3, 0)])],
    "tensor.concat": [({"dim": 1}, [(2, 3), (2, 0), (2, 4)])],
    "tensor.insert_slice": [({"starts": (1, 0), "steps": (2, 1)}, [(5, 3), (2, 3)])],
    "tensor.literal": [({"values": (1, 2.5), "type": TensorType(dtypes.float32, (1, 2))}, [])],
    "tensor.iota": [({"size": 5, "dtype": dtypes.float32}, [])],
    "tensor.contract": [({"lhs": "bmk", "rhs": "bkn", "out": "bmn"}, [(2, 3, 4), (2, 4, 5)])],
    **{
        f"tensor.reduce_{kind}": [({"dims": (0, 2)}, [(2, 3, 4)]), ({"dims": ()}, [(2,)]), ({"dims": (0,)}, [(3,)])]
        for kind in ("sum", "prod", "max", "min", "any", "all")
    },
    "tensor.argmax": [({"dim": 1}, [(2, 3, 4)])],
    "tensor.argmin": [({"dim": 0}, [(3,)])],
    **{f"tensor.scan_{kind}": [({"dim": 1}, [(2, 3, 4)])] for kind in ("sum", "prod", "max", "min")},
    "tensor.scan_linear": [({"dim": 1}, [(2, 3), (2, 3)])],
    "tensor.argsort": [({"descending": True}, [(2, 3)]), ({"descending": False, "count": 2}, [(3,)])],
    "tensor.searchsorted": [({"right": False}, [(3,), (2, 2)]), ({"right": True}, [(2, 3), (2, 4)])],
}


@pytest.mark.parametrize("declaration", all_declarations(), ids=lambda d: d.name)
def test_every_operation_is_described(declaration: Declaration) -> None:
    assert declaration.documentation
    dialect, _, name = declaration.name.partition(".")
    assert dialect.isidentifier() and name.replace(".", "_").isidentifier()
    assert set(declaration.defaults) <= set(declaration.attribute_names)


@pytest.mark.parametrize("declaration", all_declarations(), ids=lambda d: d.name)
def test_traits_are_consistent(declaration: Declaration) -> None:
    if declaration.has(Trait.ELEMENTWISE) or declaration.has(Trait.VIEW) or declaration.has(Trait.REDUCTION):
        assert declaration.has(Trait.PURE)
        assert declaration.reference is not None or declaration.decompose is not None
    if declaration.has(Trait.COMMUTATIVE):
        assert declaration.has(Trait.PURE)
    if declaration.has(Trait.TERMINATOR):
        assert not declaration.has(Trait.PURE)


def _array(type: Type, random: np.random.Generator) -> np.ndarray:
    if type.dtype.kind == "f":
        return random.standard_normal(type.shape).astype(type.dtype.numpy)
    return random.integers(0, 2 if type.dtype.kind == "b" else 5, type.shape).astype(type.dtype.numpy)


def _agrees(declaration: Declaration, attributes: dict[str, Any], operands: list[TensorType]) -> None:
    """Inference and reference give the same shapes and dtypes."""
    operator = declaration.operator(**attributes)
    inferred = operator.infer(*operands)
    random = np.random.default_rng(0)
    assert declaration.reference is not None
    with np.errstate(all="ignore"):
        outcome = declaration.reference(operator.attributes, *[_array(type, random) for type in operands])
    types = inferred.types if isinstance(inferred, TupleType) else (inferred,)
    arrays = outcome if isinstance(outcome, tuple) else (outcome,)
    assert [(type.shape, type.dtype.numpy) for type in types] == [(x.shape, x.dtype) for x in map(np.asarray, arrays)]


@pytest.mark.parametrize("declaration", ELEMENTWISE, ids=lambda d: d.name)
@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda d: d.name)
def test_an_elementwise_reference_agrees_with_inference(declaration: Declaration, dtype: DType) -> None:
    operands = [TensorType(dtype, shape) for shape in ((2, 3), (3,), (2, 1))]
    attributes: dict[str, Any] = {}
    count = len(declaration.vjp) if isinstance(declaration.vjp, tuple) else 0
    if declaration.name == "arith.select":
        operands[0] = TensorType(dtypes.bool_, (2, 1))
    elif declaration.name == "arith.compare":
        attributes, count = {"predicate": "lt"}, 2
    elif declaration.name in ("arith.cast", "arith.bitcast"):
        attributes, count = {"dtype": dtypes.float64 if dtype.itemsize == 8 else dtype}, 1
    elif declaration.name == "math.polygamma":
        attributes = {"n": 2}
    for operand_count in [count] if count else (1, 2, 3):
        try:
            _agrees(declaration, attributes, operands[:operand_count])
            return
        except RuntimeError as error:
            assert "not implemented for" in str(error)
            pytest.skip(str(error))
        except TypeError:
            assert operand_count < 3 and not count, "the reference takes no operands of a dtype that inference allows"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_tensor_reference_agrees_with_inference(name: str) -> None:
    for attributes, shapes in SAMPLES[name]:
        dtype = dtypes.bool_ if name in ("tensor.reduce_any", "tensor.reduce_all") else dtypes.float32
        _agrees(declaration_named(name), attributes, [TensorType(dtype, shape) for shape in shapes])


def test_every_tensor_operation_has_a_sample() -> None:
    indirect = {"tensor.gather", "tensor.scatter", *(f"tensor.scatter_{kind}" for kind in ("add", "mul", "max", "min"))}
    names = {d.name for d in all_declarations() if d.name.startswith("tensor.") and d.reference is not None}
    composite = {d.name for d in all_declarations() if d.has(Trait.COMPOSITE)}
    assert names - indirect - composite <= set(SAMPLES)


@pytest.mark.parametrize(
    "name", ["tensor.gather", "tensor.scatter", "tensor.scatter_add", "tensor.scatter_mul", "tensor.scatter_max"]
)
def test_indirect_access_agrees_with_inference(name: str) -> None:
    base, index = TensorType(dtypes.float32, (5, 3)), TensorType(dtypes.int64, (2, 4))
    value = TensorType(dtypes.float32, (2, 4, 3))
    _agrees(declaration_named(name), {}, [base, index] if name == "tensor.gather" else [base, index, value])


def test_attributes_that_only_look_equal_are_different_operators() -> None:
    constant = declaration_named("arith.constant")
    scalar = TensorType(dtypes.float32, ())
    values = (0.0, -0.0, 0, False, math.nan, 1, 1.0, True)
    assert len({constant.operator(value=value, type=scalar) for value in values}) == len(values)
    assert constant.operator(value=math.nan, type=scalar) is constant.operator(value=math.nan, type=scalar)


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(TypeError, match=r"tensor.permute has no attribute \['ordr'\]"):
        declaration_named("tensor.permute").operator(ordr=(0,))
