"""Kernels of one program are compiled on several threads: the same code, and an error of one is raised."""

import os
import threading

import pytest

import lazytorch as torch
from lazytorch.config import config
from lazytorch.errors import CompileError
from lazytorch.runtime import kernels, session
from lazytorch.runtime.engine import Engine


@pytest.fixture
def compiling(monkeypatch):
    """No kernel is known; by the name of the thread, the texts that it compiled."""
    kernels.runner()  # has texts of its own
    texts = {}
    compile_text = Engine.compile

    def noted(self, text, target):
        texts.setdefault(threading.current_thread().name, []).append(text)
        return compile_text(self, text, target)

    monkeypatch.setattr(Engine, "compile", noted)
    monkeypatch.setattr(kernels, "_loaded", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(session, "_programs", {})
    with config(cache=False):
        yield texts


def outcome():
    x = torch.arange(24.0).view(4, 6)
    parts = (x.softmax(1), x.sum(0), x @ x.t(), (x * 0.1).exp(), x.cumsum(1), x.t().argmax(0))
    return [part.tolist() for part in parts]  # the first asks for all of them: they are one program


def test_several_threads_compile_what_one_compiles(compiling, monkeypatch):
    found = outcome()
    together = sorted(text for texts in compiling.values() for text in texts)
    assert set(compiling) == {"lazytorch compiler"}
    assert len(together) == len(set(together)) >= 4
    kernels._loaded.clear()
    compiling.clear()
    session._programs.clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert outcome() == found
    assert set(compiling) == {threading.current_thread().name}
    assert sorted(text for texts in compiling.values() for text in texts) == together


def test_an_error_of_one_thread_is_raised_and_no_thread_is_left(compiling, monkeypatch):
    kernel_text = kernels.kernel_text
    monkeypatch.setattr(
        kernels, "kernel_text", lambda launch, target: kernel_text(launch, target).replace("ret void", "ret nothing")
    )
    with pytest.raises(CompileError, match="ret nothing"):
        outcome()
    assert "lazytorch compiler" not in [thread.name for thread in threading.enumerate()]
