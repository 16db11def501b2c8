"""What the score leaves out, and why. A name that is excluded as a whole has no entry in the score."""

OUT_OF_SCOPE = {
    "complex numbers are out of scope": (
        "polar complex view_as_complex view_as_real real imag conj conj_physical resolve_conj cfloat cdouble chalf "
        "linalg.eig linalg.eigvals"
    ),
    "sparse layouts are out of scope": "sparse.mm sparse.sampled_addmm to_sparse",
}
"""Reason: names in torch's databases."""

_REFLECTED = "__radd__ __rmul__ __rdiv__ __rsub__ __rpow__ __rmod__ __rand__ __ror__ __rxor__ __rmatmul__"
NO_ERRORS = frozenset(_REFLECTED.split(" "))
"""Their wrong inputs call a method on something that is no tensor, which is a matter of Python's descriptors."""

EXCLUDED = {name: reason for reason, names in OUT_OF_SCOPE.items() for name in names.split()}

_UNDEFINED = "empty empty_like empty_permuted empty_strided new_empty new_empty_strided"
UNDEFINED_NUMBERS = frozenset(_UNDEFINED.split(" "))
"""Functions whose elements are whatever lay in memory: shapes and types are compared."""

_ORDERED = "topk sort argsort kthvalue median nanmedian mode"
ORDER_OF_EQUALS = frozenset(_ORDERED.split(" "))
"""Which of several equal elements comes first is torch's secret: of whole numbers and bools the values are compared, not the
indices."""

_FACTORISATIONS = "linalg.svd svd linalg.eigh linalg.qr qr pca_lowrank svd_lowrank"
UP_TO_SIGN = frozenset(_FACTORISATIONS.split(" "))
"""What is unique up to signs: what the database makes of the results before it differentiates is compared."""
