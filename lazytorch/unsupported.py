"""What of torch's namespace lazytorch does not have, and what to use instead: the text of the AttributeError."""

from __future__ import annotations

import re

_REASONS = {
    r"ao|quantization|quanti[sz]e.*|q_.*|quint.*|qint.*|QInt.*|QUInt.*|qscheme|per_(tensor|channel).*|fake_quantize.*|int_repr"
    r"|dequantize|fbgemm.*|choose_qparams.*|quantized_.*": "there are no quantised tensors; use float16 or bfloat16",
    r"fx|export|package|futures|monitor|library|Script.*|CompilationUnit|import_ir_module.*|parse_.*|FileCheck|fork|wait"
    r"|.*Type$": "programs are not exported or scripted: torch.compile returns the function, which is compiled in any case",
    r"sparse_(csr|csc|bsr|bsc|compressed|coo)(_tensor)?|(ccol|col|crow|row)_indices_copy|hspmm|hsmm|smm|dsmm|saddmm|sspaddmm"
    r"|resize_as_sparse_": "of sparse layouts there are coordinates only, torch.sparse_coo_tensor; use dense tensors",
    r"nested|jagged|masked": "there are no nested or masked tensors; pad, and use a mask",
    r"mps|mtia|cudnn_.*|miopen_.*|mkldnn_.*|is_vulkan_available|cpp": "devices are the CPU and CUDA; use the function "
    "without the prefix",
    r"float8_.*|float4_.*|bits.*|u?int[1-7]|complex32|chalf|bit": "there is no such element type",
    r"Sym.*|sym_.*": "sizes are numbers: a program is planned for each, its kernels serve all",
    r".*Storage|StorageBase|storage": "memory is reached through tensors: their untyped_storage() and data_ptr()",
    r"eig|symeig|lstsq|solve|matrix_rank": "torch has removed it, too: use the function of the same name in torch.linalg",
}
"""By a pattern of names, why they are missing and what to do."""


def message(name: str) -> str:
    """The text of the error for a name that the package lacks."""
    for pattern, reason in _REASONS.items():
        if re.fullmatch(pattern, name):
            return f"module 'torch' has no attribute {name!r} in lazytorch: {reason}"
    return f"module 'torch' has no attribute {name!r} in lazytorch (yet)"
