"""What `--device cuda` found: operations that made numbers of their own on the CPU, or took device memory for the host's."""

from __future__ import annotations

from typing import Any

import pytest

import lazytorch as torch

pytestmark = pytest.mark.usefixtures("cuda")


def on(*shape: int) -> Any:
    return torch.arange(1.0, 1.0 + torch.Size(shape).numel(), device="cuda").reshape(shape)


PROGRAMS = {
    "complex numbers": lambda: torch.view_as_real(torch.complex(on(3), on(3)) * torch.polar(on(3), on(3))),
    "gather in a vmap": lambda: torch.func.vmap(lambda x, i: x.gather(0, i))(
        on(3, 4), torch.tensor([[1], [0], [3]], device="cuda")
    ),
    "sort in a vmap": lambda: torch.func.vmap(lambda x: x.sort().values)(on(3, 4).sin()),
    "pooling in a vmap": lambda: torch.func.vmap(lambda x: torch.nn.functional.max_pool2d(x, 2))(on(2, 1, 4, 4)),
    "rows of a result": lambda: torch.func.jacrev(lambda x, y: (x @ y, x.sum()), (0, 1))(on(2, 3), on(3))[0][0][1],
    "an element of a flipped one": lambda: next(iter(reversed(on(3)))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_stays_on_the_device(name: str) -> None:
    found = PROGRAMS[name]()
    assert found.is_cuda
    again = found.cpu()
    assert torch.isfinite(again).all().item()


def test_rows_of_memory_on_a_device_are_leaves_that_keep_it() -> None:
    x = (on(6, 2) * 2).realize()
    rows = x[2:4]
    del x
    other = (on(6, 2) * 3).realize()
    assert rows.tolist() == [[10.0, 12.0], [14.0, 16.0]] and other[0].tolist() == [3.0, 6.0]
