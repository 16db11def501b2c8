"""LLVM IR text to PTX, and to native code for the host."""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm
import numpy as np

TRIPLE = "nvptx64-nvidia-cuda"
INTRINSICS = """
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
"""


@cache
def _machine(architecture: str) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=architecture, opt=3)


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)


@cache
def compile_ptx(ir: str, architecture: str = "sm_80") -> str:
    """The PTX text of a module."""
    machine = _machine(architecture)
    module = llvm.parse_assembly(ir)
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    module.verify()
    _optimise(module, machine)
    return machine.emit_assembly(module)


def run_on_host(ir: str, name: str, arrays: list[np.ndarray], count: int) -> None:
    """Call a host function whose arguments are pointers and, last, a number of elements."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=2)
    module = llvm.parse_assembly(ir)
    module.triple, module.data_layout = llvm.get_default_triple(), str(machine.target_data)
    module.verify()
    with llvm.create_mcjit_compiler(module, machine) as engine:
        engine.finalize_object()
        pointers = [ctypes.c_void_p] * len(arrays)
        function = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int)(engine.get_function_address(name))
        function(*(array.ctypes.data for array in arrays), count)
