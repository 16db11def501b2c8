"""torch.utils.benchmark: statements are run, and what is shown says how often."""

from __future__ import annotations

import lazytorch
from lazytorch.utils import benchmark


def test_a_statement_is_run_and_its_result_computed_though_nobody_asks() -> None:
    x = lazytorch.ones(50, 50)
    before = lazytorch.stats()["native_calls"]
    found = benchmark.Timer("x @ x", globals={"x": x}, label="product", sub_label="50").timeit(20)
    assert lazytorch.stats()["native_calls"] - before >= 20
    assert found.number_per_run == 20
    assert 0 < found.median == found.mean
    lines = repr(found).splitlines()
    assert lines[1] == "product: 50"
    assert lines[-1] == "  1 measurement, 20 runs , 1 thread"


def test_blocks_are_measured_until_the_time_is_over() -> None:
    found = benchmark.Timer("y = 1 + 1", setup="z = 3").blocked_autorange(min_run_time=0.02)
    assert sum(found.raw_times) >= 0.02
    assert "setup: z = 3" in repr(found)
    assert benchmark.Timer().adaptive_autorange(max_run_time=0.02).median < 1
