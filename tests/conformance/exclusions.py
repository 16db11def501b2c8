"""What the score leaves out, and why. A name that is excluded as a whole has no entry in the score."""

OUT_OF_SCOPE = {
    "complex numbers are out of scope": (
        "polar complex view_as_complex view_as_real real imag conj conj_physical resolve_conj cfloat cdouble chalf "
        "linalg.eig linalg.eigvals"
    ),
    "sparse layouts are out of scope": "sparse.mm sparse.sampled_addmm to_sparse",
}
"""Reason: names in torch's databases."""

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
