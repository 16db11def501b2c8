"""A matrix product in a pipeline of asynchronous copies, ldmatrix and mma, and what each mistake in it leads to."""

import numpy as np
import pytest

from lazytorch.runtime.ptx_emulator import DataRace, KernelFault, UninitialisedRead
from tests.gpu.one_instruction import execute, kernel
from tests.gpu.ptxas import assemble, find_ptxas

K = 96
STEPS = K // 16

SETUP = f"""
mov.u32 %r0, memory;
and.b32 %r1, %t, 31;                       // lane
shr.u32 %r2, %t, 5;                        // warp: 0 copies A, 1 copies B; each multiplies 8 columns
shr.u32 %r3, %r1, 1; and.b32 %r4, %t, 1;   // row and half of the row that this thread copies
mul.lo.u32 %r5, %r3, {2 * K}; mad.lo.u32 %r5, %r4, 16, %r5; cvt.u64.u32 %rd0, %r5;
setp.eq.u32 %q0, %r2, 0; selp.b64 %rd1, %p1, %p2, %q0; add.u64 %rd1, %rd1, %rd0;
mad.lo.u32 %r6, %r2, 512, %r0; mad.lo.u32 %r6, %r3, 32, %r6; mad.lo.u32 %r6, %r4, 16, %r6;
and.b32 %r7, %r1, 15; shr.u32 %r8, %r1, 4; mad.lo.u32 %r7, %r7, 32, %r0; mad.lo.u32 %r7, %r8, 16, %r7;
and.b32 %r8, %r1, 7; mad.lo.u32 %r8, %r2, 8, %r8; mad.lo.u32 %r8, %r8, 32, %r0;
bfe.u32 %r9, %r1, 3, 1; mad.lo.u32 %r8, %r9, 16, %r8;
mov.b32 %c0, 0; mov.b32 %c1, 0; mov.b32 %c2, 0; mov.b32 %c3, 0;
"""

RESULT = """
shr.u32 %r1, %r1, 2; and.b32 %r3, %t, 3;
mul.lo.u32 %r4, %r1, 64; mad.lo.u32 %r4, %r2, 32, %r4; mad.lo.u32 %r4, %r3, 8, %r4;
cvt.u64.u32 %rd0, %r4; add.u64 %rd0, %rd0, %p0;
st.global.v2.b32 [%rd0], {%c0, %c1};
st.global.v2.b32 [%rd0+512], {%c2, %c3};
"""


def pipeline(
    waiting: int = 1,
    first_barrier: str = "bar.sync 0;",
    last_barrier: str = "bar.sync 0;",
    behind: int = 0,
    b: str = "%b0, %b1",
) -> str:
    """Two stages: while one is multiplied, the other one is filled. 64 threads, two warps."""

    def copy(step: int) -> str:
        text = f"cp.async.cg.shared.global [%r6+{step % 2 * 1024}], [%rd1+{step * 32}], 16;" if step < STEPS else ""
        return text + "\ncp.async.commit_group;"

    body = [SETUP, copy(0)]
    for step in range(STEPS):
        stage = (step + behind) % 2 * 1024
        body += [
            copy(step + 1),
            f"cp.async.wait_group {waiting};",
            first_barrier,
            f"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%a0, %a1, %a2, %a3}}, [%r7+{stage}];",
            f"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%b0, %b1}}, [%r8+{stage + 512}];",
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%c0, %c1, %c2, %c3}, {%a0, %a1, %a2, %a3}, "
            f"{{{b}}}, {{%c0, %c1, %c2, %c3}};",
            last_barrier,
        ]
    registers = ".reg .b32 %a<4>; .reg .b32 %b<2>; .reg .b32 %c<4>;"
    return kernel("\n".join([*body, RESULT]), 3, shared=2048, registers=registers)


def multiply(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's product of a 16 × K and a K × 16 matrix, and the right one."""
    rng = np.random.default_rng(5)
    left, right = (rng.integers(-4, 5, (16, K)).astype("f4") for _ in range(2))
    operands = [(matrix.view("u4") >> 16).astype("u2").reshape(-1) for matrix in (left, right)]
    found, _ = execute(text, [np.zeros(256, "f4"), *operands], 64)
    return found[0].reshape(16, 16), left @ right.T


def test_the_pipeline_multiplies():
    found, wanted = multiply(pipeline())
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif(find_ptxas() is None, reason="no ptxas: pip install nvidia-cuda-nvcc-cu12")
def test_the_pipeline_is_ptx():
    assert assemble(pipeline(), "sm_100a")["k"].spill_bytes == 0


@pytest.mark.parametrize(
    "mistake, fault",
    [
        ({"waiting": 2}, UninitialisedRead),
        ({"first_barrier": ""}, KernelFault),
        ({"first_barrier": "bar.warp.sync -1;"}, KernelFault),
        ({"last_barrier": ""}, DataRace),
        ({"last_barrier": "bar.warp.sync -1;"}, DataRace),
        ({"behind": 1}, UninitialisedRead),
    ],
)
def test_a_mistake_in_the_pipeline_is_a_fault(mistake, fault):
    with pytest.raises(fault):
        multiply(pipeline(**mistake))


def test_swapped_registers_give_wrong_numbers():
    found, wanted = multiply(pipeline(b="%b1, %b0"))
    assert (found != wanted).any()
