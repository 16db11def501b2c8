"""Calls that are recorded once and replayed: what `torch.compile` does (docs/compile.md)."""
