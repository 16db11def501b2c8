"""PyTorch's API on a lazy graph compiler: `import lazytorch as torch`, or `python -m lazytorch run script.py`."""

from __future__ import annotations

import importlib
import math
from typing import Any

from lazytorch import autograd, dtypes
from lazytorch.autograd.modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from lazytorch.default_dtype import default_dtype as get_default_dtype
from lazytorch.default_dtype import set_default_dtype
from lazytorch.dtypes import DType as dtype
from lazytorch.loading import load_rest
from lazytorch.ops import (
    activations,
    creation,
    elementwise,
    indexing,
    joining,
    products,
    reductions,
    sampling,
    settings,
    shaping,
    tensor_types,
    unary,
    writing,
)
from lazytorch.ops.promotion import promote_types
from lazytorch.ops.recording import FUNCTIONS
from lazytorch.ops.sampling import Generator, default_generator
from lazytorch.printing import set_printoptions
from lazytorch.runtime.device import Device as device
from lazytorch.runtime.statistics import STATISTICS
from lazytorch.runtime.thread_count import get_num_threads, set_num_threads
from lazytorch.size import Size
from lazytorch.tensor import Tensor
from lazytorch.version import __version__

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e

globals().update(FUNCTIONS)
globals().update(tensor_types.MEMORY_FORMATS, strided=tensor_types.STRIDED)
for _dtype in dtypes.ALL:
    if _dtype is not dtypes.index:
        globals()[_dtype.torch_name] = _dtype
        if _dtype.alias:
            globals()[_dtype.alias] = _dtype

_LAZY = frozenset(
    (
        "nn",
        "optim",
        "utils",
        "inspection",
        "linalg",
        "cuda",
        "backends",
        "accelerator",
        "amp",
        "version",
        "_C",
        "compiler",
        "distributed",
        "distributions",
        "fft",
        "functional",
        "hub",
        "multiprocessing",
        "onnx",
        "profiler",
        "special",
        "jit",
        "random",
        "serialization",
        "signal",
        "special",
        "sparse",
        "testing",
        "func",
        "xpu",
    )
)
_ELSEWHERE = {
    "dump": "inspection",
    "explain": "inspection",
    "compile": "compiler",
    "autocast": "amp",
    "GradScaler": "amp",
    "get_autocast_dtype": "amp",
    "is_autocast_enabled": "amp",
    "save": "serialization",
    "load": "serialization",
    "vmap": "func",
    "is_anomaly_enabled": "autograd.anomaly",
    "is_anomaly_check_nan_enabled": "autograd.anomaly",
    "AcceleratorError": "errors",
    "OutOfMemoryError": "errors",
}
_ELSEWHERE |= dict.fromkeys(
    ("gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"),
    "nn.modules.recurrence",
)
_NATIVE = """
affine_grid_generator batch_norm binary_cross_entropy_with_logits constant_pad_nd cosine_embedding_loss embedding
grid_sampler hinge_embedding_loss instance_norm kl_div margin_ranking_loss poisson_nll_loss triplet_margin_loss
"""
_ELSEWHERE |= dict.fromkeys(_NATIVE.split(), "nn.native")
"""Names of this namespace that live in a module which is loaded when one of them is first used."""


_OF_NETWORKS = """
adaptive_avg_pool1d alpha_dropout avg_pool1d bilinear celu channel_shuffle conv1d conv2d conv3d conv_transpose1d
conv_transpose2d conv_transpose3d cosine_similarity dropout feature_alpha_dropout group_norm hardshrink layer_norm max_pool1d
max_pool2d max_pool3d pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu rms_norm rrelu rrelu_ selu selu_ celu_
threshold threshold_
"""
_FUNCTIONAL = frozenset(_OF_NETWORKS.split())
"""Functions of nn.functional that torch has in its own namespace too, with the same arguments."""


def __getattr__(name: str) -> Any:
    """Load a submodule when it, or a name of it, is first used."""
    if name in _LAZY:
        return importlib.import_module(f"lazytorch.{name}")
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(f"lazytorch.{_ELSEWHERE[name]}"), name)
    if name in _FUNCTIONAL:
        return getattr(importlib.import_module("lazytorch.nn.functional"), name)
    if name.startswith("_foreach_"):
        lists = importlib.import_module("lazytorch.ops.foreach").LISTS
        if name in lists:
            return lists[name]
    if not name.startswith("__"):
        load_rest()
        if name in FUNCTIONS:
            return globals().setdefault(name, FUNCTIONS[name])
    raise AttributeError(importlib.import_module("lazytorch.unsupported").message(name))


def __dir__() -> list[str]:
    load_rest()
    return sorted({*globals(), *FUNCTIONS, *_LAZY, *_ELSEWHERE, *_FUNCTIONAL})


def stats() -> dict[str, int]:
    """Counters of what the compiler and the runtime did so far: programs planned, kernels compiled, native calls ..."""
    return STATISTICS.stats()


__all__ = [
    "Generator",
    "Size",
    "Tensor",
    "__version__",
    "activations",
    "autograd",
    "creation",
    "default_generator",
    "device",
    "dtype",
    "elementwise",
    "enable_grad",
    "get_default_dtype",
    "get_num_threads",
    "indexing",
    "inference_mode",
    "is_grad_enabled",
    "joining",
    "no_grad",
    "products",
    "promote_types",
    "reductions",
    "sampling",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "settings",
    "shaping",
    "stats",
    "tensor_types",
    "unary",
    "writing",
]
