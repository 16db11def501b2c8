"""`torch.backends`: switches of libraries that are not used here. They can be read and set, and change nothing."""

from lazytorch.backends import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
