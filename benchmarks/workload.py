"""What is timed, and the libraries that it is timed with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = Callable[[], object]


def _unchanged(function: Any) -> Any:
    return function


@dataclass(frozen=True)
class Library:
    """A contestant: a module with PyTorch's names, and what it does with a function, a model and a whole training step
    before they are called (compile them, or nothing)."""

    name: str
    module: Any
    function: Callable[[Any], Any] = _unchanged
    model: Callable[[Any], Any] = _unchanged
    step: Callable[[Any], Any] = _unchanged


@dataclass(frozen=True)
class Workload:
    """`make(library)` gives the step to time.

    flops, bytes: what the step has to compute and to move at least, 0 where that says little; jax: the same function of
    jax.numpy and its arrays, with their shapes; is_training: a whole step, also timed captured, and whose memory counts.
    """

    make: Callable[[Library], Step]
    flops: float = 0.0
    bytes: float = 0.0
    jax: Callable[..., Any] | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    is_training: bool = False


AGAINST = ("torch", "inductor", "jax")


def missing(name: str) -> str:
    """Why a library cannot be timed here; empty if it can."""
    if name == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        return "torch.compile needs a C++ compiler, and there is none on this machine"
    try:
        __import__("torch" if name == "inductor" else name)
    except ImportError:
        return f"{name} is not installed"
    return ""


def contestants(workload: Workload, against: tuple[str, ...]) -> dict[str, Step]:
    """The step of each library that the workload has, ours first."""
    import lazytorch

    steps = {"lazytorch": workload.make(Library("lazytorch", lazytorch))}
    if workload.is_training:
        steps["captured"] = workload.make(Library("captured", lazytorch, step=lazytorch.compile))
    for name in against:
        if name == "torch":
            import torch

            steps[name] = workload.make(Library(name, torch))
        elif name == "inductor":
            import torch

            steps[name] = workload.make(Library(name, torch, function=torch.compile, model=torch.compile))
        elif workload.jax is not None:
            steps[name] = _jax_step(workload)
    return steps


def _jax_step(workload: Workload) -> Step:
    import jax
    import numpy as np

    assert workload.jax is not None
    rng = np.random.default_rng(0)
    function = workload.jax
    operands = [jax.numpy.asarray(rng.standard_normal(shape).astype(np.float32)) for shape in workload.shapes]
    compiled = jax.jit(lambda *arrays: function(jax, *arrays))
    return lambda: jax.block_until_ready(compiled(*operands))
