"""Where an operation comes from: recorded as code object and instruction offset, decoded when printed."""

from __future__ import annotations

from types import CodeType


class Location:
    """A place in the user's program. `of` names the forward line when the operation was made by differentiation."""

    __slots__ = ("file", "gradient", "line")

    def __init__(self, file: str, line: int, gradient: bool = False) -> None:
        self.file = file
        self.line = line
        self.gradient = gradient

    def as_gradient(self) -> Location:
        """The location of a backward operation of this line."""
        return self if self.gradient else Location(self.file, self.line, True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Location) and (self.file, self.line, self.gradient) == (
            other.file,
            other.line,
            other.gradient,
        )

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.gradient))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return f"grad({place})" if self.gradient else place

    def __repr__(self) -> str:
        return f"Location({self})"


UNKNOWN = Location("?", 0)


def line_of(code: CodeType, instruction: int) -> int:
    """The source line of an instruction offset (`frame.f_lasti`) in a code object."""
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno


def from_frame_place(place: tuple[CodeType, int] | None, gradient: bool = False) -> Location:
    """Decode what the trace recorded: (code object, instruction offset)."""
    if place is None:
        return UNKNOWN
    code, instruction = place
    return Location(code.co_filename, line_of(code, instruction), gradient)
