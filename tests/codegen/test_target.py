"""A target is a value that schedules derive their sizes from."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lazytorch.codegen.target import current_target, host_target, target_named
from lazytorch.config import config


@pytest.mark.parametrize(
    ("name", "lanes", "tile"),
    [("x86-64-v2", 4, (3, 3)), ("x86-64-v3", 8, (6, 2)), ("x86-64-v4", 16, (13, 2)), ("aarch64", 4, (8, 3))],
)
def test_sizes_follow_from_the_registers(name: str, lanes: int, tile: tuple[int, int]) -> None:
    target = target_named(name)
    assert target.lanes(4) == lanes
    assert target.lanes(8) == lanes // 2
    assert target.contract_tile() == tile
    rows, vectors = tile
    assert rows * vectors + vectors < target.vector_registers


def test_an_element_size_that_no_type_has_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        host_target().lanes(3)


def test_the_setting_names_the_target() -> None:
    assert current_target() is host_target()
    with config(target="x86-64-v3"):
        assert current_target() == target_named("x86-64-v3")
    assert target_named("host") is target_named(host_target().cpu) is host_target()
    with pytest.raises(ValueError, match=r"no CPU target 'z80'; there are .*x86-64-v3"):
        target_named("z80")


def test_fingerprints_tell_targets_apart() -> None:
    targets = [target_named(name) for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64")] + [host_target()]
    assert len({target.fingerprint for target in targets}) == len(targets)
    assert host_target().is_host


def test_importing_targets_does_not_load_llvm() -> None:
    program = "import sys, lazytorch.codegen.target; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
