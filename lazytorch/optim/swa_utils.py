"""Averages of models over training (torch.optim.swa_utils)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from lazytorch import dtypes
from lazytorch.autograd.modes import no_grad
from lazytorch.nn.modules.batchnorm import _BatchNorm
from lazytorch.nn.modules.module import Module
from lazytorch.ops.creation import tensor_
from lazytorch.optim.lr_scheduler.scheduler import LRScheduler, for_every_group
from lazytorch.optim.optimizer import Optimizer
from lazytorch.tensor import Tensor


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """An exponential moving average: decay * average + (1 - decay) * new."""
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")

    @no_grad()
    def update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        out: Tensor = decay * ema_param + (1 - decay) * current_param
        return out

    return update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The mean of all models so far."""

    @no_grad()
    def update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        out: Tensor = averaged_param + (current_param - averaged_param) / (num_averaged + 1)
        return out

    return update


def _of_lists(function: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[[Any, Any, Any], None]:
    """An average of tensors as one of lists of them, in place."""

    @no_grad()
    def update(averages: Any, current: Any, num_averaged: Any) -> None:
        for average, new in zip(averages, current, strict=True):
            average.copy_(function(average.detach(), new.detach(), num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """`get_ema_avg_fn` of lists of parameters."""
    return _of_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """`get_swa_avg_fn` of lists of parameters."""
    return _of_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of those of the model at every `update_parameters`."""

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Any = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor_(0, dtype=dtypes.int64))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.module(*arguments, **keywords)

    def _averaged(self, model: Module) -> list[Tensor]:
        return list(itertools.chain(model.parameters(), model.buffers() if self.use_buffers else ()))

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's present parameters into the averages."""
        own, new = self._averaged(self.module), self._averaged(model)
        if int(self.n_averaged) == 0:
            for average, current in zip(own, new, strict=True):
                average.copy_(current.detach())
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(own, new, self.n_averaged)
        else:
            function = self.avg_fn or get_swa_avg_fn()
            for average, current in zip(own, new, strict=True):
                average.copy_(function(average.detach(), current.detach(), self.n_averaged))
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.copy_(theirs.detach())
        self.n_averaged.add_(1)


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the batch normalisations' running statistics anew, over the loader's batches."""
    momenta = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None
    for batch in loader:
        model(batch[0] if isinstance(batch, list | tuple) else batch)
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present rate to a constant one in `anneal_epochs`."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = for_every_group("swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, t: float) -> float:
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        whole = max(1, self.anneal_epochs)
        before = self._share(max(0.0, min(1.0, (step - 1) / whole)))
        share = self._share(max(0.0, min(1.0, step / whole)))
        out = []
        for group in self.optimizer.param_groups:
            end, rate = group["swa_lr"], group["lr"]
            start = end if before == 1 else (rate - before * end) / (1 - before)
            out.append(end * share + start * (1 - share))
        return out
