"""Random networks learn what they learn in torch; convolutions of every geometry have torch's gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch as oracle
from hypothesis import HealthCheck, Phase, given, settings

import lazytorch
from tests.fuzz.networks import Training, check, trainings


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(trainings())
def test_a_random_network_learns_what_it_learns_in_torch(plan: Training) -> None:
    check(plan)


GEOMETRIES = list(itertools.product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2, 4), ((1, 1), (3, 2), (2, 3)), ((7, 6), (5, 9))))


def gradients(t: Any, geometry: tuple[Any, ...]) -> list[np.ndarray] | str:
    """A convolution's result and its gradients, or the name of what it raised."""
    stride, padding, dilation, groups, kernel, size = geometry
    random = np.random.default_rng(0)
    shapes = ((2, 4, *size), (8, 4 // groups, *kernel), (8,))
    x, weight, bias = (t.tensor(random.standard_normal(shape)).requires_grad_() for shape in shapes)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    try:
        y = t.nn.functional.conv2d(x, weight, bias, **options)
    except RuntimeError:
        return "RuntimeError"
    (y * y.cos()).sum().backward()
    return [y.detach().numpy(), *[leaf.grad.numpy() for leaf in (x, weight, bias)]]


@pytest.mark.parametrize("part", range(4))
def test_a_convolution_has_torchs_gradients(part: int) -> None:
    for geometry in GEOMETRIES[part * 3 :: 12]:
        want, got = gradients(oracle, geometry), gradients(lazytorch, geometry)
        if isinstance(want, str) or isinstance(got, str):
            assert want == got, geometry
            continue
        for a, b in zip(want, got, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9, err_msg=str(geometry))
