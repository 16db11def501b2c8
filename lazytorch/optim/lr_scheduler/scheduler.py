"""What learning rate schedulers share (torch.optim.lr_scheduler.LRScheduler)."""

from __future__ import annotations

import types
import warnings
from typing import Any

from lazytorch.ir.trace import STATE
from lazytorch.optim.optimizer import Optimizer
from lazytorch.tensor import Tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
    "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed form is "
    "used instead of the new chainable form, where available. Please open an issue if you are unable to replicate your use "
    "case: https://github.com/pytorch/pytorch/issues/new/choose."
)


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError for what is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def set_option(group: dict[str, Any], name: str, value: Any) -> None:
    """Set an option of a group; a tensor keeps its identity."""
    if STATE.trace.observer is not None:
        STATE.trace.observer.refuse("a scheduler changes an option of an optimizer")
    if isinstance(group[name], Tensor):
        group[name].detach().fill_(float(value))
    else:
        group[name] = value


def options_of(optimizer: Optimizer, name: str) -> list[Any]:
    """An option of every group; tensors as copies."""
    found = [group[name] for group in optimizer.param_groups]
    return [x.clone() if isinstance(x, Tensor) else x for x in found]


def for_every_group(name: str, optimizer: Optimizer, given: Any) -> list[Any]:
    """One value for all groups, or a sequence with one for each."""
    count = len(optimizer.param_groups)
    if isinstance(given, list | tuple):
        if len(given) != count:
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has {len(given)} values, "
                f"param_groups has {count}."
            )
        return list(given)
    return [given] * count


class _CountedStep:
    """An optimizer's `step` that notes that it was called."""

    _wrapped_by_lr_sched = True

    def __init__(self, optimizer: Optimizer, step: Any) -> None:
        self.optimizer, self.step = optimizer, step

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.optimizer.__dict__["_opt_called"] = True
        return self.step(*arguments, **keywords)


class LRScheduler:
    """Changes the learning rates of an optimizer's groups at every `step()`; subclasses define `get_lr`."""

    _is_initial = False
    _get_lr_called_within_step = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                rate = group["lr"]
                group.setdefault("initial_lr", rate.clone() if isinstance(rate, Tensor) else rate)
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{number}] when resuming scheduler with last_epoch "
                    ">= 0.\nThis typically happens when:\n1. You're trying to resume training from a checkpoint but haven't "
                    "properly loaded the optimizer state\n2. You're using last_epoch >= 0 for a fresh training run (not "
                    "recommended)"
                )
        self.base_lrs = options_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if not hasattr(optimizer.step, "_wrapped_by_lr_sched"):
            optimizer.__dict__["step"] = _CountedStep(optimizer, optimizer.step)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self.__dict__.pop("_is_initial", None)

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer."""
        return {name: entry for name, entry in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the attributes of a state dict."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The learning rates that were set last."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The learning rates of the present epoch."""
        raise NotImplementedError

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.", stacklevel=3
            )

    def _computed(self, closed_form: bool) -> list[Any]:
        self._get_lr_called_within_step = True
        try:
            closed = getattr(self, "_get_closed_form_lr", None)
            return closed() if closed_form and closed is not None else self.get_lr()
        finally:
            self.__dict__.pop("_get_lr_called_within_step", None)

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch (or a given one), after the optimizer's step."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        where = "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, "
                "make sure to call `optimizer.step()` before `lr_scheduler.step()`. See more details at " + where,
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you should "
                "call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to do this will "
                "result in PyTorch skipping the first value of the learning rate schedule. See more details at " + where,
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        rates = self._computed(closed_form=epoch is not None)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_option(group, "lr", rate)
        self._last_lr = options_of(self.optimizer, "lr")


_LRScheduler = LRScheduler


def saved_function(function: Any) -> dict[str, Any] | None:
    """What a state dict keeps of a function: the attributes of a callable object, nothing of a plain function."""
    return None if isinstance(function, types.FunctionType | types.BuiltinFunctionType) else dict(function.__dict__)
