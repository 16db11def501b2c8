"""Whole training steps, forward to `loss.item()`, against torch eager in the same run.

python -m benchmarks steps [--threads N] [--only mlp|cnn]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.timing import interleaved


def network(torch: Any, name: str) -> tuple[Any, Any]:
    """A model and a batch of 64: an MLP 64-64-10, or two 3x3 convolutions with pooling on 8x8 images."""
    torch.manual_seed(0)
    nn = torch.nn
    if name == "mlp":
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), torch.rand(64, 64)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    return model, torch.rand(64, 1, 8, 8)


def mlp_step(torch: Any) -> Callable[[], float]:
    """MLP, SGD with momentum."""
    return _step(torch, *network(torch, "mlp"))


def cnn_step(torch: Any) -> Callable[[], float]:
    """CNN, SGD with momentum."""
    return _step(torch, *network(torch, "cnn"))


def _step(torch: Any, model: Any, images: Any) -> Callable[[], float]:
    labels = torch.randint(0, 10, (64,))
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


WORKLOADS: dict[str, Callable[[Any], Callable[[], float]]] = {"mlp": mlp_step, "cnn": cnn_step}


def chosen(benchmark: str, description: str | None, arguments: list[str], *libraries: Any) -> dict[str, Any]:
    """The workloads that the command line asks for, by name; sets the libraries' number of threads."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {benchmark}", description=description)
    parser.add_argument("--threads", type=int, default=0, help="number of threads (default: all cores)")
    parser.add_argument("--only", choices=sorted(WORKLOADS))
    options = parser.parse_args(arguments)
    for library in libraries:
        if options.threads:
            library.set_num_threads(options.threads)
    return {name: make for name, make in WORKLOADS.items() if options.only in (None, name)}


def main(arguments: list[str]) -> None:
    """Print microseconds per step of both, and torch's time divided by ours."""
    import torch

    import lazytorch

    for name, make in chosen("steps", __doc__, arguments, torch, lazytorch).items():
        times = interleaved({"torch": make(torch), "lazytorch": make(lazytorch)})
        theirs, ours = times["torch"], times["lazytorch"]
        print(
            f"{name:6} torch {theirs.best * 1e6:8.1f} us  lazytorch {ours.best * 1e6:8.1f} us  "
            f"ratio {theirs.best / ours.best:5.2f} (median {theirs.median / ours.median:5.2f})"
        )
