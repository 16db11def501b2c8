"""Convolutions and transposed convolutions (torch.nn)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazytorch.nn import functional as F
from lazytorch.nn import init
from lazytorch.nn.modules.module import Module
from lazytorch.nn.modules.utils import _ntuple
from lazytorch.nn.parameter import Parameter
from lazytorch.ops.creation import empty
from lazytorch.tensor import Tensor

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What convolutions share."""

    spatial = 2
    transposed = False
    function: Any = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._check(in_channels, out_channels, stride, padding, groups, padding_mode)
        several = _ntuple(self.spatial)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = several(kernel_size), several(stride), several(dilation)
        self.padding = padding if isinstance(padding, str) else several(padding)
        self.padding_mode = padding_mode
        self.output_padding: tuple[int, ...] = (0,) * self.spatial
        if self.transposed:
            shape = (in_channels, out_channels // groups, *self.kernel_size)
        else:
            shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(*shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self, in_channels: int, out_channels: int, stride: Any, padding: Any, groups: int, padding_mode: str) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(s != 1 for s in _ntuple(self.spatial)(stride)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {set(_PADDING_MODES)}, but got padding_mode='{padding_mode}'")

    def reset_parameters(self) -> None:
        """torch's default initialisation."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def _sides(self) -> list[int]:
        """The padding of `F.pad`: low and high, last dimension first."""
        out: list[int] = []
        padding: Any = self.padding
        for axis in reversed(range(self.spatial)):
            if padding == "valid":
                low = high = 0
            elif padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                low = total // 2
                high = total - low
            else:
                low = high = padding[axis]
            out += [low, high]
        return out

    def forward(self, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), mode=self.padding_mode), 0
        out: Tensor = type(self).function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return out

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.spatial:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.spatial:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.spatial:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class Conv1d(_ConvNd):
    """Convolution along one dimension."""

    spatial, function = 1, staticmethod(F.conv1d)


class Conv2d(_ConvNd):
    """Convolution over two dimensions."""

    spatial, function = 2, staticmethod(F.conv2d)


class Conv3d(_ConvNd):
    """Convolution over three dimensions."""

    spatial, function = 3, staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self.output_padding = _ntuple(self.spatial)(output_padding)

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """What has to be added at the end for the output to have the wanted size."""
        if output_size is None:
            return self.output_padding
        count = self.spatial
        wanted = tuple(output_size)
        batched = len(input.shape) == count + 2
        if len(wanted) == count + (2 if batched else 1):
            wanted = wanted[-count:]
        if len(wanted) != count:
            raise ValueError(
                f"ConvTranspose{count}D: for {len(input.shape)}D input, output_size must have {count} or "
                f"{count + (2 if batched else 1)} elements (got {len(wanted)})"
            )
        least = [
            (input.shape[len(input.shape) - count + d] - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(count)
        ]
        most = [low + stride - 1 for low, stride in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range from {least} to {most} (for an input of "
                f"{input.size()[2:]})"
            )
        return tuple([size - low for size, low in zip(wanted, least, strict=True)])

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._output_padding(input, output_size)
        out: Tensor = type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )
        return out


class ConvTranspose1d(_ConvTransposeNd):
    """The adjoint of Conv1d."""

    spatial, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """The adjoint of Conv2d."""

    spatial, function = 2, staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """The adjoint of Conv3d."""

    spatial, function = 3, staticmethod(F.conv_transpose3d)
