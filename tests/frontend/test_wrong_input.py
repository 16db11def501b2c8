"""Wrong calls raise torch's exception type, at the user's line, with the shapes in the message."""

import pytest
import torch as oracle

import lazytorch

WRONG = {
    "shapes that do not broadcast": lambda t: t.ones(2, 3) + t.ones(4),
    "matmul of wrong shapes": lambda t: t.ones(2, 3) @ t.ones(4, 5),
    "linear of wrong shapes": lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(5, 4), t.ones(5)),
    "view of a wrong size": lambda t: t.ones(6).view(4, 2),
    "index out of range": lambda t: t.ones(3)[3],
    "dimension out of range": lambda t: t.ones(3).sum(2),
    "too many indices": lambda t: t.ones(3)[0, 0],
    "item of several elements": lambda t: t.ones(2).item(),
    "truth of several elements": lambda t: bool(t.ones(2)),
    "integers that require grad": lambda t: t.ones(2, dtype=t.int64).requires_grad_(),
    "backward of a vector": lambda t: (t.ones(2, requires_grad=True) * 2).backward(),
    "backward without grad": lambda t: t.ones(1).sum().backward(),
    "backward twice": lambda t: _backward_twice(t),
    "in place on a leaf": lambda t: t.ones(2, requires_grad=True).add_(1),
    "numpy of a tensor that requires grad": lambda t: t.ones(2, requires_grad=True).numpy(),
    "mean of integers": lambda t: t.arange(3).mean(),
    "cat of wrong shapes": lambda t: t.cat([t.ones(2, 3), t.ones(2, 4)], 0),
    "an in-place result of another shape": lambda t: t.ones(2).add_(t.ones(3, 2)),
    "an in-place result of another category": lambda t: t.ones(2, dtype=t.int64).add_(0.5),
    "view over gaps": lambda t: t.ones(2, 3).t().view(6),
    "writing to an expanded tensor": lambda t: t.ones(1).expand(3).add_(1),
}


def _backward_twice(t):
    x = t.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    with pytest.raises(Exception) as want:
        WRONG[name](oracle)
    with pytest.raises(type(want.value)) as got:
        WRONG[name](lazytorch)
    assert str(got.value).split("\n")[0][:40] == str(want.value).split("\n")[0][:40]


def test_an_index_known_only_at_run_time_names_the_line() -> None:
    x = lazytorch.rand(4)
    index = (lazytorch.ones(2) * 9).long()
    picked = x[index]
    with pytest.raises(IndexError, match=r"index 9 is out of bounds.*size 4.*test_wrong_input.py"):
        picked.tolist()


def test_a_wrong_target_class_raises() -> None:
    with pytest.raises(IndexError):
        lazytorch.nn.functional.cross_entropy(lazytorch.rand(2, 3), lazytorch.tensor([0, 3])).item()
