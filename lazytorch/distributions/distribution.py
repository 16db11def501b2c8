"""The base of all distributions (torch.distributions.Distribution)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lazytorch as torch
from lazytorch.distributions import constraints
from lazytorch.distributions.utils import broadcast_all, lazy_property
from lazytorch.size import Size
from lazytorch.tensor import Tensor

__all__ = ["Distribution"]

_EMPTY = Size()


class Distribution:
    """A distribution over events of shape `event_shape`, of which there is one per element of `batch_shape`.

    Parameters are attributes named in `arg_constraints`; `expand` and the checks follow from what stands there. Arguments
    and samples are checked, with one sync, unless `validate_args` is False: ValueError with the values found.
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__
    _parts: tuple[str, ...] = ()
    """Attributes that are distributions over the same batch."""
    _kept: tuple[str, ...] = ()
    """Attributes that do not depend on the batch."""

    if TYPE_CHECKING:
        arg_constraints: Any
        support: Any

        def __getattr__(self, name: str) -> Any: ...

    else:

        @property
        def arg_constraints(self) -> dict[str, Any]:
            """The constraint of every parameter."""
            raise NotImplementedError

        @property
        def support(self) -> Any:
            """The constraint that samples fulfil."""
            raise NotImplementedError

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether arguments are checked where `validate_args` is not given."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape: Size = _EMPTY, event_shape: Size = _EMPTY, validate_args: bool | None = None) -> None:
        self._batch_shape = batch_shape
        self._event_shape = event_shape
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _broadcast(self, validate_args: bool | None, **parameters: Any) -> None:
        """Initialize with parameters that broadcast against each other to the shape of the batch."""
        for name, x in zip(parameters, broadcast_all(*parameters.values()), strict=True):
            setattr(self, name, x)
        Distribution.__init__(self, x.shape, validate_args=validate_args)

    def _check_parameters(self) -> None:
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        checks = []
        for name, constraint in arg_constraints.items():
            is_lazy = name not in self.__dict__ and isinstance(getattr(type(self), name, None), lazy_property)
            if not constraints.is_dependent(constraint) and not is_lazy:
                checks.append((name, constraint, constraint.check(getattr(self, name)).all()))
        if _all([valid for *_, valid in checks]):
            return
        name, constraint = next((name, constraint) for name, constraint, valid in checks if not valid)
        value = getattr(self, name)
        raise ValueError(
            f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution {self!r} to "
            f"satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
        )

    # -- shapes

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """The same distribution over a larger batch: parameters are expanded, not copied or checked again."""
        new = self._new_instance(_instance)
        self._expand_into(new, Size(batch_shape))
        Distribution.__init__(new, Size(batch_shape), self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _new_instance(self, _instance: Any) -> Any:
        """An empty distribution of this type, whose parameters `expand` knows how to fill in."""
        family = next(kind for kind in type(self).__mro__ if kind.__module__.startswith("lazytorch.distributions."))
        if family.__init__ is Distribution.__init__:  # type: ignore[misc]
            raise NotImplementedError
        return self._get_checked_instance(family, _instance)

    def _expand_into(self, new: Any, batch_shape: Size) -> None:
        for name, constraint in self.arg_constraints.items():
            x = self.__dict__.get(name)
            if x is not None:
                setattr(new, name, x.expand(batch_shape + x.shape[x.dim() - constraint.event_dim :]))
        for name in self._parts:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        for name in self._kept:
            setattr(new, name, getattr(self, name))

    def _get_checked_instance(self, cls: Any, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also define a "
                "custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    @property
    def batch_shape(self) -> Size:
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of a single event."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Sequence[int] = _EMPTY) -> Size:
        """The shape of a sample."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    # -- what it says about itself

    @property
    def mean(self) -> Tensor:
        """The mean of the distribution."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most likely value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance of the distribution."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of the distribution."""
        return self.variance.sqrt()

    # -- samples and densities

    def sample(self, sample_shape: Sequence[int] = _EMPTY) -> Tensor:
        """Samples, of shape sample_shape + batch_shape + event_shape, without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = _EMPTY) -> Tensor:
        """Samples through which gradients flow to the parameters."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """Deprecated: `sample((n,))`."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of values up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution along dimension 0, over the batch if `expand`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy, one per element of the batch."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """e to the entropy."""
        return torch.exp(self.entropy())

    def _check_sample(self, value: Any) -> None:
        """`_validate_sample`, unless checks are off."""
        if self._validate_args:
            self._validate_sample(value)

    def _validate_sample(self, value: Any) -> None:
        """ValueError for a value that is no tensor, does not fit the shapes, or lies outside of the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        if value.shape[value.dim() - len(self._event_shape) :] != self._event_shape:
            raise ValueError(f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}.")
        expected = self._batch_shape + self._event_shape
        if any(i != 1 and j != 1 and i != j for i, j in zip(reversed(value.shape), reversed(expected), strict=False)):
            raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {expected}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the distribution "
                "with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        """Values along dimension 0, one dimension of size 1 (or the batch's) for each of the batch's."""
        rows = values.view((-1,) + (1,) * len(self._batch_shape))
        return rows.expand((-1, *self._batch_shape)) if expand else rows

    def __repr__(self) -> str:
        parameters = {name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__}
        shown = [f"{name}: {x if x.numel() == 1 else x.size()}" for name, x in parameters.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


def _all(conditions: list[Tensor]) -> bool:
    """Whether all hold, with one sync."""
    return not conditions or bool(torch.stack(conditions).all())
