"""Pruning: parameters multiplied by masks before every forward (torch.nn.utils.prune)."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lazytorch.nn.modules.module import Module
from lazytorch.nn.utils.convert_parameters import parameters_to_vector
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.tensor import Tensor, from_array


def _ones_like(x: Tensor) -> Tensor:
    return FUNCTIONS["ones_like"](x.detach())


def _with_zeros(mask: Tensor, index: np.ndarray) -> Tensor:
    """The mask with zeros at flat positions."""
    values = np.array(mask.detach().cpu().numpy())
    values.reshape(-1)[index] = 0
    return from_array(values, mask.dtype, mask)


def _smallest(values: Tensor, count: int) -> np.ndarray:
    return np.argsort(np.asarray(values.detach().cpu().numpy()).reshape(-1), kind="stable")[:count]


class BasePruningMethod(ABC):
    """How a mask is found. PRUNING_TYPE: 'unstructured', 'structured' (along `dim`) or 'global'."""

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of a tensor, with zeros where `default_mask` has them and further ones."""

    def apply_mask(self, module: Module) -> Tensor:
        """The original times the mask."""
        mask = getattr(module, f"{self._tensor_name}_mask")
        original = getattr(module, f"{self._tensor_name}_orig")
        out: Tensor = mask.to(original.dtype) * original
        return out

    @classmethod
    def apply(
        cls, module: Module, name: str, *arguments: Any, importance_scores: Tensor | None = None, **keywords: Any
    ) -> BasePruningMethod:
        """Prune a parameter of the module, on top of what already prunes it."""
        found = _hooks(module, name)
        if len(found) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. Use a PruningContainer."
            )
        method = cls(*arguments, **keywords)
        method._tensor_name = name
        original = getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter                     {name} of {module}"
            )
        if not found:
            module.register_parameter(f"{name}_orig", original)
            del module._parameters[name]
            default = _ones_like(original)
        else:
            default = getattr(module, f"{name}_mask").detach().clone()
            original = getattr(module, f"{name}_orig")
        if found:
            key, old = found[0]
            del module._forward_pre_hooks[key]
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
        mask = method.compute_mask(scores, default_mask=default)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """A pruned copy of a tensor."""
        scores = t if importance_scores is None else importance_scores
        default = _ones_like(t) if default_mask is None else default_mask
        out: Tensor = t * self.compute_mask(scores, default_mask=default)
        return out

    def remove(self, module: Module) -> None:
        """Make the pruned value a plain parameter again."""
        name = self._tensor_name
        if not is_pruned(module):
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters[f"{name}_orig"]
        assert original is not None
        original.data = weight.detach()
        del module._parameters[f"{name}_orig"]
        del module._buffers[f"{name}_mask"]
        setattr(module, name, original)


def _hooks(module: Module, name: str) -> list[tuple[int, BasePruningMethod]]:
    return [
        (key, hook)
        for key, (hook, _) in module._forward_pre_hooks.items()
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
    ]


class PruningContainer(BasePruningMethod):
    """Several methods, one after the other."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if methods:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod | None) -> None:
        """Add a method at the end. Raises TypeError or ValueError for one that does not belong here."""
        if method is not None and not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        if method is not None:
            self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The last method's mask of what is not pruned yet, combined with the mask so far."""
        method = self._pruning_methods[-1]
        mask = np.array(default_mask.cpu().numpy())
        scores = np.asarray(t.detach().cpu().numpy())
        if method.PRUNING_TYPE == "unstructured":
            keep: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            axis = method.dim % scores.ndim  # type: ignore[attr-defined]
            others = tuple([d for d in range(scores.ndim) if d != axis])
            keep = (slice(None),) * axis + (mask.sum(others) != 0,)
        elif method.PRUNING_TYPE == "global":
            keep = (slice(None),) * scores.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        part = method.compute_mask(from_array(scores[keep], t.dtype), from_array(mask[keep], default_mask.dtype))
        mask[keep] = part.cpu().numpy()
        return from_array(mask, default_mask.dtype, default_mask)


class Identity(BasePruningMethod):
    """Nothing is pruned."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


def _validate_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if (isinstance(amount, numbers.Integral) and amount < 0) or (
        not isinstance(amount, numbers.Integral) and (float(amount) > 1.0 or float(amount) < 0.0)
    ):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    if isinstance(amount, numbers.Integral):
        if int(amount) > size:
            raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
        return int(amount)
    return round(float(amount) * size)


class _Amount(BasePruningMethod):
    """A method that prunes a number or a share of what there is."""

    def __init__(self, amount: Any) -> None:
        _validate_amount(amount)
        self.amount = amount


class RandomUnstructured(_Amount):
    """Elements at random."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        if not count:
            return default_mask.clone()
        drawn = np.asarray(FUNCTIONS["rand_like"](t).cpu().numpy()).reshape(-1)
        return _with_zeros(default_mask, np.argsort(-drawn, kind="stable")[:count])


class L1Unstructured(_Amount):
    """The elements of the smallest size."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        return _with_zeros(default_mask, _smallest(t.abs(), count)) if count else default_mask.clone()


class RandomStructured(_Amount):
    """Channels along a dimension at random."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        drawn = np.asarray(FUNCTIONS["rand"](size).cpu().numpy())
        kept = np.argsort(-drawn, kind="stable")[: size - count]
        return _channels(t, self.dim, kept) * default_mask.to(t.dtype)


def _channels(t: Tensor, dim: int, kept: np.ndarray) -> Tensor:
    """Ones in the channels that are kept."""
    mask = np.zeros(tuple(t.shape), t.dtype.numpy)
    index: list[Any] = [slice(None)] * len(t.shape)
    index[dim] = kept
    mask[tuple(index)] = 1
    return from_array(mask, t.dtype, t)


class LnStructured(_Amount):
    """The channels along a dimension with the smallest norm."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        super().__init__(amount)
        self.n, self.dim = n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        axis = self.dim % len(t.shape)
        norms = np.asarray(t.detach().norm(self.n, [d for d in range(len(t.shape)) if d != axis]).cpu().numpy())
        kept = np.argsort(-norms, kind="stable")[: size - count]
        return _channels(t, self.dim, kept) * default_mask.to(t.dtype)


class CustomFromMask(BasePruningMethod):
    """A mask of the caller's."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        out: Tensor = default_mask * self.mask.to(default_mask.dtype)
        return out


def identity(module: Module, name: str) -> Module:
    """Prune nothing, but add the mask."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Module:
    """Prune elements at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: Any, importance_scores: Tensor | None = None) -> Module:
    """Prune the elements of the smallest size (or score)."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Module:
    """Prune channels at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the channels of the smallest n-norm (or score)."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune by a given mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: Any, importance_scores: Any = None, **keywords: Any
) -> None:
    """Prune several parameters as if they were one vector."""
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    pairs = list(parameters)
    given = importance_scores or {}
    if not isinstance(given, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    scores = parameters_to_vector([given.get(pair, getattr(*pair)) for pair in pairs])
    masks = [getattr(module, f"{name}_mask", _ones_like(getattr(module, name))) for module, name in pairs]
    method = pruning_method(**keywords)
    method._tensor_name = "temp"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of type '
            f"{method.PRUNING_TYPE}"
        )
    container = PruningContainer()
    container._tensor_name = "temp"
    container.add_pruning_method(method)
    final = container.compute_mask(scores, parameters_to_vector(masks))
    at = 0
    for module, name in pairs:
        parameter = getattr(module, name)
        count = parameter.numel()
        custom_from_mask(module, name, mask=final[at : at + count].view_as(parameter))
        at += count


def remove(module: Module, name: str) -> Module:
    """Make a pruned value a plain parameter again, for good."""
    for key, hook in _hooks(module, name):
        hook.remove(module)
        del module._forward_pre_hooks[key]
        return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether anything in the module is pruned."""
    return any(
        isinstance(hook, BasePruningMethod) for part in module.modules() for hook, _ in part._forward_pre_hooks.values()
    )
