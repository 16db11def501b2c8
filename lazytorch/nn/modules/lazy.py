"""Modules whose sizes follow from their first input (torch.nn.LazyLinear ...), and the parameters that wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytorch import dtypes
from lazytorch.autograd.modes import no_grad
from lazytorch.nn.modules.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from lazytorch.nn.modules.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from lazytorch.nn.modules.linear import Linear
from lazytorch.nn.modules.module import Module
from lazytorch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from lazytorch.ops.creation import tensor_
from lazytorch.tensor import Tensor

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyModuleMixin(Module):
    """Calls `initialize_parameters(*inputs)` before the first forward, and then becomes `cls_to_become`."""

    cls_to_become: Any = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *arguments: Any, **keywords: Any) -> None:
        """Give the parameters their sizes; subclasses define it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no size yet."""
        return any(is_lazy(x) for x in (*self._parameters.values(), *self._buffers.values()))

    def _infer_parameters(self, module: Any, arguments: tuple[Any, ...], keywords: Any = None) -> None:
        module.initialize_parameters(*arguments, **(keywords or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
        module._initialize_hook.remove()
        del module._initialize_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy forward pass to correctly "
            "initialize the modules"
        )


class _LazyLayer(LazyModuleMixin):
    """A layer made with `wanted` sizes; the one in `_size` is the size of dimension `_dim` of the first input."""

    _size = ""
    _waiting: tuple[str, ...] = ("weight", "bias")

    def _defer(self, bias: bool, device: Any, dtype: Any) -> None:
        """Put uninitialized parameters in the place of those that were made without a size."""
        for name in self._waiting:
            if name != "bias" or bias:
                setattr(self, name, UninitializedParameter(device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Only once there are parameters to reset."""
        if not self.has_uninitialized_params() and getattr(self, self._size) != 0:
            super().reset_parameters()  # type: ignore[misc]

    def _found_size(self, input: Tensor) -> int:
        raise NotImplementedError

    def _shapes(self) -> dict[str, Sequence[int]]:
        """The parameters' shapes, once the size is known."""
        raise NotImplementedError

    def initialize_parameters(self, input: Tensor, *arguments: Any) -> None:
        """Sizes by the first input."""
        if not self.has_uninitialized_params():
            return
        setattr(self, self._size, self._found_size(input))
        with no_grad():
            for name, shape in self._shapes().items():
                x = getattr(self, name)
                if is_lazy(x):
                    x.materialize(shape)
            self.reset_parameters()


class LazyLinear(_LazyLayer, Linear):
    """A `Linear` whose in_features is the size of its first input's last dimension."""

    cls_to_become = Linear
    _size = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        self._defer(bias, device, dtype)

    def _found_size(self, input: Tensor) -> int:
        return int(input.shape[-1])

    def _shapes(self) -> dict[str, Sequence[int]]:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}


class _LazyConv(_LazyLayer):
    """A convolution whose in_channels is the size of its first input's channel dimension."""

    _size = "in_channels"

    def __init__(self, out_channels: int, kernel_size: Any, *arguments: Any, **options: Any) -> None:
        names: tuple[str, ...] = ("stride", "padding", "dilation", "groups", "bias", "padding_mode", "device", "dtype")
        if self.cls_to_become.transposed:
            names = ("stride", "padding", "output_padding", "groups", "bias", "dilation", "padding_mode", "device", "dtype")
        options |= dict(zip(names, arguments, strict=False))
        bias, device, dtype = options.pop("bias", True), options.pop("device", None), options.pop("dtype", None)
        super().__init__(0, 0, kernel_size, bias=False, **options)
        self.out_channels = out_channels
        self._defer(bias, device, dtype)

    def _found_size(self, input: Tensor) -> int:
        rank, spatial = len(input.shape), self.cls_to_become.spatial
        if rank not in (spatial + 1, spatial + 2):
            raise RuntimeError(
                f"Expected {spatial + 1}D (unbatched) or {spatial + 2}D (batched) input to {type(self).__name__}, but got "
                f"input of size: {input.shape}"
            )
        channels = int(input.shape[rank - spatial - 1])
        if channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        return channels

    def _shapes(self) -> dict[str, Sequence[int]]:
        channels = (self.out_channels, self.in_channels)
        first, second = reversed(channels) if self.cls_to_become.transposed else channels
        return {"weight": (first, second // self.groups, *self.kernel_size), "bias": (self.out_channels,)}


class _LazyNorm(_LazyLayer):
    """A normalisation whose num_features is the size of its first input's dimension 1."""

    _size = "num_features"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self._defer(bias, device, dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = tensor_(0, dtype=dtypes.int64)

    def reset_running_stats(self) -> None:
        """Only once there are statistics to reset."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_running_stats()  # type: ignore[misc]

    def _found_size(self, input: Tensor) -> int:
        self._check_input_dim(input)
        return int(input.shape[-len(input.shape) + 1])

    def _shapes(self) -> dict[str, Sequence[int]]:
        names = [*(("weight", "bias") if self.affine else ())]
        names += ["running_mean", "running_var"] if self.track_running_stats else []
        return dict.fromkeys(names, (self.num_features,))


def _lazy(base: type, of: Any) -> Any:
    """The lazy form of a layer."""
    name = f"Lazy{of.__name__}"
    doc = f"A `{of.__name__}` whose `{base.__dict__['_size']}` follows from its first input."
    return type(name, (base, of), {"cls_to_become": of, "__doc__": doc, "__module__": __name__})


LazyConv1d, LazyConv2d, LazyConv3d = (_lazy(_LazyConv, of) for of in (Conv1d, Conv2d, Conv3d))
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (
    _lazy(_LazyConv, of) for of in (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
)
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = (_lazy(_LazyNorm, of) for of in (BatchNorm1d, BatchNorm2d, BatchNorm3d))
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (
    _lazy(_LazyNorm, of) for of in (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)
)
