"""What holds for every test: a kernel cache of its own for the run, one thread for the oracle, repeatable examples."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from tests import device_option

_IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ

# Set here, before anything imports lazytorch or torch, because both read the environment then. The workers of one run
# inherit the variables and so share the cache.
if not _IS_XDIST_WORKER:
    os.environ["LAZYTORCH_CACHE_DIR"] = tempfile.mkdtemp(prefix="lazytorch-test-cache-")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where tests run."""
    device_option.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Settings."""
    device_option.configure(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs another device."""
    device_option.select(config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a CUDA device was."""
    terminalreporter.write_line(device_option.summary(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the run's kernel cache, once, when the workers are gone."""
    if not _IS_XDIST_WORKER:
        shutil.rmtree(os.environ["LAZYTORCH_CACHE_DIR"], ignore_errors=True)


collect_ignore_glob = ["ir/lit/*"]
