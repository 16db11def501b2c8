"""The shapes of tensors."""

from __future__ import annotations

from typing import Any

from lazytorch.printing import format_size


class Size(tuple[int, ...]):
    """The shape of a tensor, `torch.Size`."""

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        out = 1
        for size in self:
            out *= size
        return out

    def __repr__(self) -> str:
        return format_size(self)

    def __getitem__(self, key: Any) -> Any:
        found = tuple.__getitem__(self, key)
        return Size(found) if isinstance(key, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))
