"""The arena: values alive at the same time never overlap, and memory is reused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.errors import VerificationError
from lazytorch.runtime.memory_plan import ALIGNMENT, Lifetime, plan_arena, verify_arena

lifetimes = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 20), st.integers(0, 10)).map(lambda t: Lifetime(t[0], t[1], t[1] + t[2])),
    max_size=40,
)


@given(lifetimes)
def test_values_alive_together_never_overlap(lives: list[Lifetime]) -> None:
    offsets, total = plan_arena(lives)
    assert all(
        offset % ALIGNMENT == 0 and offset + life.nbytes <= total for offset, life in zip(offsets, lives, strict=True)
    )
    for i, a in enumerate(lives):
        for j, b in enumerate(lives[:i]):
            if a.first <= b.last and b.first <= a.last:
                assert offsets[i] + a.nbytes <= offsets[j] or offsets[j] + b.nbytes <= offsets[i] or not a.nbytes * b.nbytes


def test_memory_of_a_dead_value_is_used_again() -> None:
    offsets, total = plan_arena([Lifetime(6400, 0, 1), Lifetime(6400, 2, 3), Lifetime(64, 0, 3)])
    assert offsets[0] == offsets[1]
    assert total == 6464


def test_the_verifier_rejects_an_overlap() -> None:
    with pytest.raises(VerificationError, match="overlap"):
        verify_arena([Lifetime(100, 0, 2), Lifetime(100, 1, 3)], [0, 64])
