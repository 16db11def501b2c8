"""From fused tensor operations to loop kernels to LLVM text."""
