"""What lazytorch raises beside torch's own exception types.

A wrong call raises what torch raises (RuntimeError, TypeError, IndexError, ValueError) at the user's line. The classes
here are for what torch has no type for: text that does not parse, IR that breaks its rules, the compiler's own faults.
"""

from __future__ import annotations


class LazytorchError(Exception):
    """Base of the compiler's own errors."""


class OutOfMemoryError(RuntimeError):
    """A device could not provide the memory asked for. A RuntimeError, as `torch.OutOfMemoryError`."""


class AcceleratorError(RuntimeError):
    """A device's driver reports an error: a kernel that failed, say. A RuntimeError, as `torch.AcceleratorError`."""


class CompileError(LazytorchError):
    """A fault of the compiler, not of the user's program.

    `stage` is the pass or step that failed, `location` the user's line the operation was recorded at (anything whose
    str() reads `file:line`), `reproduce` a command line that shows the fault again. The text holds all that is known:

        CompileError: after pass 'fuse': operand shapes differ   [train.py:12]
          reproduce: lazytorch-opt --passes=fuse FILE
    """

    def __init__(self, message: str, *, stage: str = "", location: object = None, reproduce: str = "") -> None:
        self.message = message
        self.stage = stage
        self.location = location
        self.reproduce = reproduce
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.stage}: {self.message}" if self.stage else self.message
        if self.location is not None:
            text += f"   [{self.location}]"
        if self.reproduce:
            text += f"\n  reproduce: {self.reproduce}"
        return text


class PassError(LazytorchError):
    """A pass was asked for what the module does not allow: a function that is not there, a missing derivative."""


class VerificationError(CompileError):
    """IR, a kernel or an execution plan breaks a rule of its level. `message` names the operation and the rule."""


class ParseError(LazytorchError):
    """Text that is not IR. `line` and `column` count from 1; `source` is the text of that line, shown with a caret.

    `others` are further errors of the same text, in order; the text shows them all.

    >>> print(ParseError("expected a type", "add.mlir", 2, 13, "%0 = f %a : ?"))
    add.mlir:2:13: error: expected a type
      %0 = f %a : ?
                  ^
    """

    def __init__(
        self, message: str, file: str, line: int, column: int, source: str = "", others: tuple[ParseError, ...] = ()
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        self.others = others
        super().__init__(message, file, line, column, source, others)

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: error: {self.message}"
        if self.source:
            shown, column = self._excerpt()
            before = "".join("\t" if character == "\t" else " " for character in shown[: column - 1])
            text += f"\n  {shown}\n  {before}^"
        return "\n".join([text, *map(str, self.others)])

    def _excerpt(self) -> tuple[str, int]:
        """The part of the line to show, and the column within it: a very long line is cut around the error."""
        begin = max(0, self.column - 100)
        shown = self.source[begin : begin + 200]
        return "".join(
            x if x.isprintable() or x == "\t" else "\N{REPLACEMENT CHARACTER}" for x in shown
        ), self.column - begin


class LinAlgError(RuntimeError):
    """A matrix has no inverse or no factorisation of the kind asked for, as `torch.linalg.LinAlgError`."""
