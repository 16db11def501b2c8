"""Text of IR with random damage: parser, verifier and printers take it or refuse it, and never crash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from lazytorch.errors import ParseError, VerificationError
from lazytorch.ir.equivalence import equivalent
from lazytorch.ir.examples import documented_operations, example_module
from lazytorch.ir.generic_printer import print_generic
from lazytorch.ir.parser import parse_module
from lazytorch.ir.printer import print_ir
from lazytorch.ir.verifier import verify

TESTS = Path(__file__).parents[1]
EXAMPLES = [example_module(declaration) for declaration in documented_operations()]
TEXTS = [
    *[path.read_bytes() for path in sorted(TESTS.glob("*/**/*.mlir"))],
    *[print_ir(module, locations=True).encode() for module in EXAMPLES],
    *[print_generic(module, locations=True).encode() for module in EXAMPLES],
]
PIECES = [
    b"{",
    b"}",
    b"(",
    b")",
    b"%0",
    b"%x",
    b"tensor<",
    b">",
    b"-1",
    b"\n",
    b'"',
    b"0x",
    b"loop.for",
    b"nan",
    b"99999999999",
]


@dataclass(frozen=True)
class DamagedText:
    """Bytes that were the text of a module."""

    text: bytes


def check(damaged: DamagedText) -> None:
    """Raises AssertionError for a module that is taken but does not read back, and whatever they crash with."""
    try:
        module = parse_module(damaged.text.decode(errors="replace"))
        verify(module)
    except (ParseError, VerificationError) as error:
        assert str(error).encode()
        return
    again = parse_module(print_ir(module, locations=True))
    assert equivalent(module, again, locations=True)
    assert equivalent(module, parse_module(print_generic(module, locations=True)), locations=True)


@st.composite
def texts(draw: st.DrawFn) -> DamagedText:
    """A module's text of which a few places are cut, overwritten or taken from another place."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start, removed = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
        kind = draw(st.sampled_from(("piece", "bytes", "copy")))
        if kind == "copy":
            begin = draw(st.integers(0, len(text)))
            piece = text[begin : begin + draw(st.integers(1, 60))]
        else:
            piece = draw(st.sampled_from(PIECES) if kind == "piece" else st.binary(min_size=1, max_size=4))
        text = text[:start] + piece + text[start + removed :]
    return DamagedText(text)
