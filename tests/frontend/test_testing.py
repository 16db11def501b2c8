"""torch.testing.assert_close, and what the error for a missing name says."""

from typing import Any

import pytest
import torch as oracle

import lazytorch

COMPARISONS = {
    "equal": lambda t: t.testing.assert_close(t.tensor([1.0, 2.0]), t.tensor([1.0, 2.0 + 1e-6])),
    "different": lambda t: t.testing.assert_close(t.tensor([1.0, 2.0]), t.tensor([1.0, 2.1])),
    "given tolerances": lambda t: t.testing.assert_close(t.tensor([1.0, 2.0]), t.tensor([1.0, 2.1]), rtol=0.1, atol=0.0),
    "one tolerance": lambda t: t.testing.assert_close(1, 2, rtol=1),
    "shapes": lambda t: t.testing.assert_close(t.ones(2), t.ones(3)),
    "element types": lambda t: t.testing.assert_close(t.ones(2), t.ones(2).double()),
    "element types aside": lambda t: t.testing.assert_close(t.ones(2), t.ones(2).double(), check_dtype=False),
    "whole numbers": lambda t: t.testing.assert_close(t.tensor([1, 2]), t.tensor([1, 3])),
    "numbers": lambda t: t.testing.assert_close(1.0, 1.0 + 1e-9),
    "sequences": lambda t: t.testing.assert_close([t.ones(1)], [t.ones(1), t.ones(1)]),
    "mappings": lambda t: t.testing.assert_close({"a": t.ones(2)}, {"a": t.zeros(2)}),
    "nan": lambda t: t.testing.assert_close(t.tensor([float("nan")]), t.tensor([float("nan")])),
    "equal nan": lambda t: t.testing.assert_close(t.tensor([float("nan")]), t.tensor([float("nan")]), equal_nan=True),
    "a message": lambda t: t.testing.assert_close(t.ones(1), t.zeros(1), msg="not so"),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_assert_close_accepts_and_refuses_what_torchs_does(name: str) -> None:
    def outcome(library: Any) -> tuple[type, str] | None:
        try:
            COMPARISONS[name](library)
        except (AssertionError, ValueError) as error:
            return type(error), str(error)[:60]
        return None

    assert outcome(lazytorch) == outcome(oracle)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("quantize_per_tensor", "no quantised tensors"),
        ("fx", "torch.compile"),
        ("sparse_csr_tensor", "sparse_coo_tensor"),
        ("nested", "a mask"),
        ("float8_e4m3fn", "no such element type"),
        ("FloatStorage", "untyped_storage"),
        ("symeig", "torch.linalg"),
    ],
)
def test_a_missing_name_says_what_to_use_instead(name: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=hint) as raised:
        getattr(lazytorch, name)
    assert repr(name) in str(raised.value)
