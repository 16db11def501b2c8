"""The PTX that these tests execute is PTX to NVIDIA's assembler, too."""

import pytest

from tests.gpu.nvptx import compile_ptx
from tests.gpu.one_instruction import HEADER, kernel, single
from tests.gpu.ptxas import ARCHITECTURES, AssemblyError, assemble, find_ptxas
from tests.gpu.random_ir import RandomProgram
from tests.gpu.test_instructions import FLOAT_CASES, INTEGER_CASES, ROUNDED
from tests.gpu.test_warps_and_matrices import FORMS, multiplication

pytestmark = pytest.mark.skipif(find_ptxas() is None, reason="no ptxas: pip install nvidia-cuda-nvcc-cu12")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_assembles_for_every_architecture(architecture):
    cost = assemble(compile_ptx(RandomProgram(1).kernel(), architecture), architecture)["k"]
    assert 0 < cost.registers <= 255 and cost.spill_bytes == cost.shared_bytes == 0


def test_costs_are_read_from_the_assembler():
    text = kernel("st.shared.b32 [memory], %t;\nld.shared.b32 %r1, [memory];\nst.global.b32 [%p0], %r1;", shared=4096)
    assert assemble(text, "sm_100a")["k"].shared_bytes >= 4096


def test_what_the_assembler_refuses_is_an_error():
    with pytest.raises(AssemblyError, match="refuses the module"):
        assemble(kernel("frobnicate.b32 %r1, %r2;"), "sm_100a")


def test_matrix_multiplications_of_the_tests_are_ptx():
    kernels = []
    for number, form in enumerate(FORMS):
        text = multiplication(*form)[0].removeprefix(HEADER)
        kernels.append(text.replace(" k(", f" k{number}(").replace("k_", f"k{number}_"))
    assert len(assemble(HEADER + "\n".join(kernels), "sm_100a")) == len(FORMS)


def test_instructions_of_the_tests_are_ptx():
    cases = [(text, result, operands) for text, result, operands, _ in INTEGER_CASES]
    cases += [(text, result, ("f4", "f4")) for text, result, _ in FLOAT_CASES]
    for opcode, (arity, _) in ROUNDED.items():
        names = ", ".join("%" + name for name in "abc"[:arity])
        cases += [(f"{opcode}.{mode}.f32 %d, {names};", "f4", ("f4",) * arity) for mode in ("rn", "rz", "rm", "rp")]
    kernels = [single(*case, name=f"k{number}").removeprefix(HEADER) for number, case in enumerate(cases)]
    assert len(assemble(HEADER + "\n".join(kernels), "sm_100a")) == len(cases)
