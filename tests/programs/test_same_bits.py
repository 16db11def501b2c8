"""Results are the same bits whatever the fusion, mode, threads, target and cache (docs/architecture.md, Numbers)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("bits_program.py")

SETTINGS = {
    "without fusion": {"LAZYTORCH_FUSE": "0"},
    "eagerly": {"LAZYTORCH_EAGER": "1"},
    "on one thread": {"LAZYTORCH_NUM_THREADS": "1"},
    "on two threads": {"LAZYTORCH_NUM_THREADS": "2"},
    "compiled for AVX2": {"LAZYTORCH_TARGET": "x86-64-v3"},
    "without a cache": {"LAZYTORCH_CACHE": "0"},
}


def hashes(**environment: str) -> dict[str, str]:
    run = subprocess.run(
        [sys.executable, str(PROGRAM)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return dict(line.split() for line in run.stdout.splitlines())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of the default settings, from a cold cache."""
    return hashes(LAZYTORCH_CACHE_DIR=str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_bits_are_the_same(name: str, reference: dict[str, str]) -> None:
    assert hashes(**SETTINGS[name]) == reference


def test_the_bits_are_the_same_from_a_warm_cache(reference: dict[str, str]) -> None:
    hashes()
    assert hashes() == reference
