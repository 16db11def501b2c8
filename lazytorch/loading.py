"""What few programs use is loaded when a name of it is first missed: by the package, in the table of functions, of `Tensor`.

The modules of ops/ named here declare their functions when they are imported, as all of them do. Their methods are listed,
since a `__getattr__` of Tensor would make every other attribute slower; a test compares the list with the declarations.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

METHODS = {
    "complex_numbers": """
        H adjoint angle conj conj_physical imag isreal mH real resolve_conj resolve_neg view_as_complex view_as_real""",
    "exponents": "float_power_ frexp",
    "compositions": """
        copysign copysign_ deg2rad deg2rad_ float_power fmax fmin frac frac_ gcd gcd_ heaviside heaviside_ isneginf isposinf
        lcm lcm_ ldexp ldexp_ logaddexp logaddexp2 logit logit_ mvlgamma mvlgamma_ nextafter nextafter_ positive rad2deg
        rad2deg_ signbit sinc sinc_ xlogy xlogy_""",
    "einstein": "",
    "factorizations": "geqrf lu lu_solve orgqr ormqr",
    "interchange": "__cuda_array_interface__ __dlpack__ __dlpack_device__ is_pinned pin_memory",
    "linear_algebra": """
        cholesky cholesky_inverse cholesky_solve det inverse logdet matrix_exp matrix_power pinverse qr slogdet svd
        triangular_solve""",
    "norms": "dist norm renorm renorm_",
    "random_variables": "igamma igamma_ igammac igammac_",
    "scans": "cummax cummin cumprod cumprod_ cumsum cumsum_ diff logcumsumexp",
    "sorting": """
        argsort bincount histc histogram kthvalue median mode msort nanmedian nanquantile quantile sort topk unique
        unique_consecutive""",
    "sparse_tensors": "to_dense to_sparse",
    "spectrograms": "istft stft",
    "special_functions": "i0 i0_",
    "statistics": "aminmax count_nonzero nanmean nansum",
    "windows": "",
}
"""By module of ops/ that is loaded later, the members of Tensor that it attaches."""

_missing = list(METHODS)
_lock = threading.RLock()


def load_rest() -> bool:
    """Load the modules that are not loaded yet; whether there were any."""
    with _lock:  # another thread waits; while a module is loaded, what it misses is not there
        if not _missing:
            return False
        _missing.clear()
        for name in METHODS:
            importlib.import_module(f"lazytorch.ops.{name}")
        return True


class Later:
    """In the place of a member of Tensor: the first look at it loads the module that replaces it."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def __get__(self, instance: Any, owner: Any) -> Any:
        importlib.import_module(f"lazytorch.ops.{self.module}")
        return getattr(owner if instance is None else instance, self.name)


def announce(owner: type) -> None:
    """Give a class the members that are loaded later."""
    for module, names in METHODS.items():
        for name in names.split():
            setattr(owner, name, Later(name, module))


class Functions(dict[str, Any]):
    """Functions by their names in torch."""

    def __missing__(self, name: str) -> Any:
        if load_rest():
            return self[name]
        raise KeyError(name)
