"""The map schedule: short dimensions joined into one inner loop, what is read there without a common stride, reshapes."""

import numpy as np
import pytest

import lazytorch as torch
from lazytorch.codegen.views import common_refinement
from lazytorch.config import config

F = torch.nn.functional


def data(*shape: int) -> torch.Tensor:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return torch.tensor(x)


JOINED = {
    "every second of rows of 8": (lambda x: x[:, :, ::2, ::2] + 1, (5, 3, 8, 8)),
    "every second of rows of 4": (lambda x: x[..., 1::2, ::2] * 2, (5, 16, 4, 4)),
    "every third": (lambda x: x[..., ::3] - 1, (9, 6, 6)),
    "backwards": (lambda x: x.flip(-1) + 1, (40, 4)),
    "backwards, every second": (lambda x: x.flip(2, 3)[..., ::2] + 1, (4, 3, 8, 8)),
    "sums of neighbours": (lambda x: x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2], (6, 2, 8, 8)),
    "too far apart for one window": (lambda x: x[:, :4, :4] + 1, (8, 64, 64)),
    "transposed": (lambda x: x.transpose(1, 2) + 1, (12, 4, 4)),
    "repeated": (lambda x: x[:, :, None].expand(10, 8, 2) + 1, (10, 8)),
    "bytes": (lambda x: (x > 0).to(torch.uint8)[..., ::2] + 1, (40, 2, 8)),
    "doubles": (lambda x: x.double()[..., ::2, ::2] + 1, (40, 4, 4)),
    "a matrix across its memory": (lambda x: x.t() * 2, (70, 50)),
    "of whole tiles": (lambda x: x.t() * 2, (64, 64)),
    "the last dimension first": (lambda x: x.permute(2, 0, 1) + 1, (37, 3, 65)),
    "one of two across": (lambda x: x.t() - x, (67, 67)),
    "both across, a row of numbers": (lambda x: x.t().abs() * 2 + x.t() + x[:, 0], (40, 40)),
    "doubles across": (lambda x: x.double().t() / 3, (33, 49)),
    "bytes with wide numbers across": (lambda x: (x > 0).t().long() + 1, (40, 33)),
    "bytes across": (lambda x: (x > 0).t().logical_not(), (200, 150)),
    "pooled": (lambda x: F.max_pool2d(x, 2), (3, 5, 8, 8)),
    "pooled with odd sizes": (lambda x: F.max_pool2d(x, 2), (3, 5, 7, 9)),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_short_dimensions_read_what_the_interpreter_reads(name):
    function, shape = JOINED[name]
    found = []
    for settings in ({"interpret": True}, {}, {"target": "x86-64-v3"}, {"num_threads": 1}, {"fuse": False}):
        with config(**settings):
            found.append(function(data(*shape)).numpy().tolist())
    assert found == [found[0]] * len(found)


def test_short_patterns_are_shuffled_and_long_ones_gathered():
    x = data(64, 16, 8, 8)
    for target in ("x86-64-v3", "x86-64-v4"):
        with config(target=target):
            text = torch.dump(x[..., ::2, ::2] + 1, stage="loop")
            assert "loop.shuffle" in text
            assert torch.dump(data(8, 64, 64)[:, :4, :4] + 1, stage="loop").count("loop.shuffle") == 0


def test_an_operand_across_its_memory_is_transposed_in_registers():
    x = data(64, 64)
    loops = torch.dump((x.t() * 2).contiguous(), stage="loop")
    assert "loop.shuffle" in loops


def test_a_reshape_that_joins_dimensions_needs_no_kernel_of_its_own():
    """The derivative of pooling is spread over windows, whose dimensions then become rows and columns."""
    x = data(4, 3, 8, 8).requires_grad_()
    F.max_pool2d(torch.relu(x), 2).sum().backward()
    assert torch.dump(x.grad, stage="fused").count("fused.kernel") == 2  # where the maxima are; the gradient
    q = data(2, 5, 3, 4)
    joined = q.transpose(1, 2).reshape(2, 3, 20)
    assert torch.dump(torch.sin(joined) * 2, stage="fused").count("fused.kernel") == 1
    assert torch.sin(joined).tolist() == torch.sin(q.transpose(1, 2).clone().reshape(2, 3, 20)).tolist()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((6, 4), (2, 12), (2, 3, 4)),
        ((24,), (2, 3, 4), (2, 3, 4)),
        ((2, 3), (3, 2), None),
        ((1, 4, 1), (2, 2), (2, 2)),
        ((), (1,), ()),
        ((0, 3), (3, 0), None),
    ],
)
def test_the_common_refinement_of_two_shapes(first, second, expected):
    assert common_refinement(first, second) == expected


def test_a_contractions_epilogue_takes_a_value_in_split_dimensions_along():
    """Both have the contraction's shape, but one of them is asked for as a vector."""
    x, y = data(6, 5), (data(8, 6) > 0).to(torch.uint8)
    flat = torch.bitwise_xor(y.t().reshape(48), torch.ones(48, dtype=torch.uint8))
    product = torch.relu(x @ data(5, 8))
    assert flat.tolist() == [1 - v for v in y.t().contiguous().reshape(48).tolist()]
    assert product.tolist() == torch.relu((x @ data(5, 8)).realize()).tolist()
