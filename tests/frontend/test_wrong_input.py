"""Wrong calls raise torch's exception type, at the user's line, with the shapes in the message."""

import pytest
import torch as oracle

import lazytorch
from tests.frontend.error_oracle import messages

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
    "integers over the number 0": lambda t: t.arange(3) // 0,
    "integers modulo the number 0": lambda t: t.arange(3) % 0,
    "floor division of bools": lambda t: t.ones(2, dtype=t.bool) // t.ones(2, dtype=t.bool),
    "a shift of floats": lambda t: t.ones(2) << 1,
    "bits of floats": lambda t: t.ones(2) & 1,
    "softmax of integers": lambda t: t.nn.functional.softmax(t.arange(3), 0),
    "float of several elements": lambda t: float(t.ones(2)),
    "index of several elements": lambda t: [1, 2][t.tensor([0, 1])],
    "a string as index": lambda t: t.ones(2)["a"],
    "a string as slice": lambda t: t.ones(2)["a":],
    "a step of 0": lambda t: t.ones(2)[::0],
    "a step back": lambda t: t.ones(2)[::-1],
    "an index into no dimension": lambda t: t.tensor(1.0)[0],
    "a dimension that is a string": lambda t: t.ones(2).sum(dim="q"),
    "softmax along a string": lambda t: t.ones(2).softmax("q"),
    "cat along a string": lambda t: t.cat([t.ones(2)], "q"),
    "a dtype that is a string": lambda t: t.zeros(2, dtype="float32"),
    "a size that is a string": lambda t: t.zeros("a"),
    "a size that is no whole number": lambda t: t.zeros(1.5),
    "a negative size": lambda t: t.zeros(-1),
    "an unknown option": lambda t: t.ones(2, foo=1),
    "a string as number": lambda t: t.full((2,), "a"),
    "no chunks": lambda t: t.ones(2).chunk(0),
    "a chunk of no dimension": lambda t: t.tensor(1.0).chunk(1),
    "pieces of size 0": lambda t: t.ones(2).split(0),
    "a string in a tensor": lambda t: "a" in t.ones(2),
    "the common type of three": lambda t: t.result_type(1, 2, 3),
    "einsum of too few operands": lambda t: t.einsum("ij,jk", t.ones(2, 3)),
    "einsum with an unknown letter": lambda t: t.einsum("ij->k", t.ones(2, 3)),
    "einsum with a letter twice in the result": lambda t: t.einsum("i->ii", t.ones(3)),
    "einsum of sizes that differ": lambda t: t.einsum("ij,jk->ik", t.ones(2, 3), t.ones(2, 3)),
    "einsum with too many letters": lambda t: t.einsum("ijk", t.ones(2, 3)),
    "einsum with a digit": lambda t: t.einsum("i1", t.ones(2, 3)),
    "the diagonal of a rectangle": lambda t: t.einsum("ii->i", t.ones(2, 3)),
    "view over gaps": lambda t: t.ones(2, 3).t().view(6),
    "writing to an expanded tensor": lambda t: t.ones(1).expand(3).add_(1),
}


def _backward_twice(t):
    x = t.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("name", WRONG)
def test_the_error_is_torchs(name: str) -> None:
    mine, theirs = messages(WRONG[name])
    assert mine.split("\n")[0][:40] == theirs.split("\n")[0][:40]


def test_an_index_known_only_at_run_time_names_the_line() -> None:
    x = lazytorch.rand(4)
    index = (lazytorch.ones(2) * 9).long()
    picked = x[index]
    with pytest.raises(IndexError, match=r"index 9 is out of bounds.*size 4.*test_wrong_input.py"):
        picked.tolist()


AT_RUN_TIME = {
    "floor division of integers by 0": lambda t: t.tensor([5, -7]) // t.tensor([2, 0]),
    "remainder of integers by 0": lambda t: 1 % t.tensor([2, 0]),
    "fmod of integers by 0": lambda t: t.fmod(t.tensor([[5], [7]]), t.tensor([2, 0])),
    "gather": lambda t: t.rand(3, 4).gather(1, t.tensor([[9]])),
    "gather of a negative index": lambda t: t.rand(3, 4).gather(1, t.tensor([[-1]])),
    "one index": lambda t: t.rand(4)[t.tensor([1, -9])],
    "the first of two indices": lambda t: t.rand(3, 4)[[0, 9], [1, 1]],
    "the second of two indices": lambda t: t.rand(3, 4)[[0, 1], [1, 7]],
    "indices around a slice": lambda t: t.rand(3, 2, 4)[[1], :, [-7]],
    "an index behind a slice": lambda t: t.rand(3, 4)[:, [7]],
    "indices behind a slice": lambda t: t.rand(2, 3, 4)[:, [0], [7]],
    "writing by index": lambda t: _written(t.rand(3, 4), ([1], [5])),
    "an empty dimension": lambda t: t.rand(0, 4)[t.tensor([0])],
    "index_select of rows": lambda t: t.rand(3, 4).index_select(0, t.tensor([9])),
    "index_select of columns": lambda t: t.rand(3, 4).index_select(1, t.tensor([-1])),
    "scatter": lambda t: t.rand(3, 4).scatter(1, t.tensor([[-1]]), 1.0),
    "scatter_add": lambda t: t.rand(3, 4).scatter_add(0, t.tensor([[9]]), t.ones(1, 1)),
    "index_add": lambda t: t.rand(3, 4).index_add(0, t.tensor([-1]), t.ones(1, 4)),
    "embedding": lambda t: t.nn.functional.embedding(t.tensor([-1]), t.rand(3, 4)),
    "cross entropy": lambda t: t.nn.functional.cross_entropy(t.rand(2, 3), t.tensor([0, 10])),
    "cross entropy with weights": lambda t: t.nn.functional.cross_entropy(t.rand(2, 3), t.tensor([0, -1]), t.ones(3)),
    "nll of images": lambda t: t.nn.functional.nll_loss(t.rand(2, 3, 2), t.tensor([[0, 1], [1, 4]])),
    "one_hot": lambda t: t.nn.functional.one_hot(t.tensor([5]), 3),
    "one_hot of a negative class": lambda t: t.nn.functional.one_hot(t.tensor([-1]), 3),
}


def _written(x, key):
    x[key] = 1.0
    return x


@pytest.mark.parametrize("name", AT_RUN_TIME)
def test_what_is_found_at_run_time_is_torchs_error_too(name: str) -> None:
    with pytest.raises(Exception) as want:
        AT_RUN_TIME[name](oracle)
    with pytest.raises(type(want.value)) as got:
        AT_RUN_TIME[name](lazytorch).tolist()
    assert str(got.value).partition("      [")[0] == str(want.value).split("\n")[0]
