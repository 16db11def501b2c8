"""`torch.utils.dlpack`: DLPack capsules."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from lazytorch.ops.interchange import from_dlpack
from lazytorch.runtime import dlpack
from lazytorch.tensor import Tensor


class DLDeviceType(IntEnum):
    """Kinds of devices by DLPack's numbers."""

    kDLCPU = dlpack.CPU
    kDLCUDA = dlpack.CUDA
    kDLCUDAHost = dlpack.CUDA_HOST


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule on the tensor's memory."""
    return tensor.__dlpack__()


__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
