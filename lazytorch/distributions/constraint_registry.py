"""Which transform leads from unconstrained numbers to a constraint's (torch.distributions.constraint_registry)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytorch.distributions import constraints, transforms
from lazytorch.tensor import Tensor

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """From constraints to factories of transforms."""

    def __init__(self) -> None:
        self._registry: dict[type, Callable[[Any], Any]] = {}

    def register(self, constraint: Any, factory: Callable[[Any], Any] | None = None) -> Any:
        """Register the factory of a constraint's type; a decorator without `factory`."""
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, constraints.Constraint):
            raise TypeError(f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}")
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint: Any) -> Any:
        """The transform to a constraint. Raises NotImplementedError where none is registered."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()
"""Bijections: with a Jacobian."""
transform_to = ConstraintRegistry()
"""Not necessarily bijections, but well suited to optimize through."""


def _compose(*parts: Any) -> Any:
    return transforms.ComposeTransform(list(parts))


def _to_interval(constraint: Any) -> Any:
    low, high = constraint.lower_bound, constraint.upper_bound
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and low == 0 and high == 1:
        return transforms.SigmoidTransform()
    return _compose(transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low))


def _to_greater(constraint: Any) -> Any:
    return _compose(transforms.ExpTransform(), transforms.AffineTransform(constraint.lower_bound, 1))


def _to_less(constraint: Any) -> Any:
    return _compose(transforms.ExpTransform(), transforms.AffineTransform(constraint.upper_bound, -1))


def _recursive(registry: ConstraintRegistry) -> None:
    """What depends on the transforms to other constraints."""
    registry.register(
        constraints.independent,
        lambda c: transforms.IndependentTransform(registry(c.base_constraint), c.reinterpreted_batch_ndims),
    )
    registry.register(
        constraints.cat, lambda c: transforms.CatTransform([registry(part) for part in c.cseq], c.dim, c.lengths)
    )
    registry.register(constraints.stack, lambda c: transforms.StackTransform([registry(part) for part in c.cseq], c.dim))


for _registry in (biject_to, transform_to):
    for _constraint, _factory in (
        (constraints.real, lambda c: transforms.identity_transform),
        (constraints.greater_than, _to_greater),
        (constraints.greater_than_eq, _to_greater),
        (constraints.less_than, _to_less),
        (constraints.interval, _to_interval),
        (constraints.half_open_interval, _to_interval),
        (constraints.corr_cholesky, lambda c: transforms.CorrCholeskyTransform()),
    ):
        _registry.register(_constraint, _factory)
    _recursive(_registry)

biject_to.register(constraints.simplex, lambda c: transforms.StickBreakingTransform())
transform_to.register(constraints.simplex, lambda c: transforms.SoftmaxTransform())
transform_to.register(constraints.lower_cholesky, lambda c: transforms.LowerCholeskyTransform())
transform_to.register(constraints.positive_definite, lambda c: transforms.PositiveDefiniteTransform())
transform_to.register(constraints.positive_semidefinite, lambda c: transforms.PositiveDefiniteTransform())
