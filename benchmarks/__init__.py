"""Benchmarks: ratios against PyTorch in one interleaved run. `python -m benchmarks [record|steps] ...`"""
