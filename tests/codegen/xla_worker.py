"""Runs StableHLO text with XLA, in a process of its own: JAX has threads, and other tests fork.

Reads pickled (text, arrays) from the standard input, writes pickled results or the error's text to the standard output.
"""

from __future__ import annotations

import os
import pickle
import sys

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jaxlib.mlir import ir


def run(text: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Verify, compile and run the function main."""
    device = jax.devices("cpu")[0]
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        if not module.operation.verify():
            raise ValueError("the module does not verify")
        devices = xla_client.DeviceList((device,))
        program = device.client.compile_and_load(module, devices, xla_client.CompileOptions(), [])
    outcome = program.execute_sharded([jax.device_put(array, device) for array in arrays])
    return [np.asarray(parts[0]) for parts in outcome.disassemble_into_single_device_arrays()]


def main() -> None:
    """Answer until the input ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jax.config.update("jax_enable_x64", True)
    while True:
        try:
            text, arrays = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: object = run(text, arrays)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
