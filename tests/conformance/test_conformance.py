"""A fixed part of the conformance run (`python -m tests.conformance` is all of it); the comparison finds differences."""

from __future__ import annotations

import pytest
import torch

import lazytorch
from tests.conformance.comparison import Different, Outcome, compare, compare_values
from tests.conformance.conversion import tensor_of

_NAMES = (
    "add where cat softmax clamp gather masked_select index_put roll matmul linalg.solve nn.functional.layer_norm "
    "nn.functional.cross_entropy nn.Linear nn.BatchNorm1d"
)
RECORDED = dict.fromkeys(_NAMES.split(" "), 1.0)
"""The shares of comparisons that agree. They may rise, not fall."""


def test_the_score_of_the_fixed_part_is_at_least_the_recorded_one() -> None:
    from tests.conformance.__main__ import check_name
    from tests.conformance.operators import CHECKS
    from tests.conformance.score import Scores

    results = [result for name in RECORDED for result in check_name(name, 1, CHECKS)]
    scores = Scores(results)
    fallen = [name for name, least in RECORDED.items() if (scores.share(name) or 0.0) < least]
    shown = [f"{x.name} {x.check} {x.sample}: {x.failure}" for x in results if x.name in fallen and x.failure is not None]
    assert not fallen, "\n".join(shown)
    assert len(results) > 250


@pytest.mark.parametrize(
    "mine",
    [
        lambda: lazytorch.tensor([1.0, 2.001]),
        lambda: lazytorch.tensor([1.0, 2.0], dtype=lazytorch.float64),
        lambda: lazytorch.tensor([[1.0, 2.0]]),
        lambda: lazytorch.tensor([1.0, 2.0], requires_grad=True),
        lambda: [lazytorch.tensor([1.0, 2.0])],
        lambda: 1.0,
    ],
)
def test_a_difference_is_found(mine) -> None:
    compare_values(lazytorch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(Different):
        compare_values(mine(), torch.tensor([1.0, 2.0]))


def test_another_error_or_none_is_a_difference() -> None:
    compare(Outcome(error=IndexError()), Outcome(error=IndexError()))
    for mine in (Outcome(error=ValueError()), Outcome(1)):
        with pytest.raises(Different):
            compare(mine, Outcome(error=IndexError()))


def test_a_converted_tensor_keeps_its_strides() -> None:
    for x in (torch.arange(6.0).reshape(2, 3).t(), torch.arange(6.0)[1::2], torch.ones(3, 1).expand(3, 2)):
        mine = tensor_of(x)
        assert mine.tolist() == x.tolist()
        assert mine.stride() == x.stride()
