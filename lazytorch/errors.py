"""What lazytorch raises beside torch's own exception types.

A wrong call raises what torch raises (RuntimeError, TypeError, IndexError, ValueError) at the user's line. The classes
here are for what torch has no type for: text that does not parse, IR that breaks its rules, the compiler's own faults.
"""

from __future__ import annotations


class LazytorchError(Exception):
    """Base of the compiler's own errors."""


class OutOfMemoryError(RuntimeError):
    """A device could not provide the memory asked for. A RuntimeError, as `torch.OutOfMemoryError`."""


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


class VerificationError(CompileError):
    """IR, a kernel or an execution plan breaks a rule of its level. `message` names the operation and the rule."""


class ParseError(LazytorchError):
    """Text that is not IR. `line` and `column` count from 1; `source` is the text of that line, shown with a caret.

    >>> print(ParseError("expected a type", "add.mlir", 2, 13, "%0 = f %a : ?"))
    add.mlir:2:13: error: expected a type
      %0 = f %a : ?
                  ^
    """

    def __init__(self, message: str, file: str, line: int, column: int, source: str = "") -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        super().__init__(message, file, line, column, source)

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: error: {self.message}"
        if self.source:
            before = "".join("\t" if character == "\t" else " " for character in self.source[: self.column - 1])
            text += f"\n  {self.source}\n  {before}^"
        return text


class LinAlgError(RuntimeError):
    """A matrix has no inverse or no factorisation of the kind asked for, as `torch.linalg.LinAlgError`."""
