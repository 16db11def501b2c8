"""Calls of the CUDA driver that pycuda has no names for: graphs, foreign streams. The library is pycuda's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager

from lazytorch.errors import AcceleratorError

_Handle = ctypes.c_void_p
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads may allocate meanwhile
_FUNCTIONS = {
    "cuStreamBeginCapture_v2": (_Handle, ctypes.c_int),
    "cuStreamEndCapture": (_Handle, ctypes.POINTER(_Handle)),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(_Handle), _Handle, ctypes.c_ulonglong),
    "cuGraphLaunch": (_Handle, _Handle),
    "cuGraphDestroy": (_Handle,),
    "cuGraphExecDestroy": (_Handle,),
}


class LibCuda:
    """The driver's library. has_graphs: whether it offers CUDA graphs (drivers from CUDA 11.4 on do)."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libcuda.so.1")
        self.has_graphs = all(hasattr(library, name) for name in _FUNCTIONS)
        self._library = library
        library.cuStreamSynchronize.argtypes = (_Handle,)
        for name, types in _FUNCTIONS.items() if self.has_graphs else ():
            getattr(library, name).argtypes = types

    def call(self, name: str, *arguments: object) -> None:
        """Call a function. Raises AcceleratorError for what it returns."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise AcceleratorError(f"CUDA error: {name} failed with code {code}")

    def graph(
        self, stream: int, launch_all: Callable[[], None], active: Callable[[], AbstractContextManager[object]]
    ) -> DriverGraph:
        """What a function puts into a stream, as a graph."""
        graph, runnable = _Handle(), _Handle()
        self.call("cuStreamBeginCapture_v2", stream, _RELAXED)
        try:
            launch_all()
        finally:
            self.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, 0)
        self.call("cuGraphDestroy", graph)
        return DriverGraph(self, runnable, active)


class DriverGraph:
    """A CUgraphExec."""

    def __init__(self, library: LibCuda, runnable: _Handle, active: Callable[[], AbstractContextManager[object]]) -> None:
        self.library, self.runnable, self.active = library, runnable, active

    def launch(self, stream: object) -> None:
        """Put it into a stream."""
        with self.active():
            self.library.call("cuGraphLaunch", self.runnable, stream.handle)  # type: ignore[attr-defined]

    def destroy(self) -> None:
        """Give it back; launches under way are finished."""
        with self.active():
            self.library.call("cuGraphExecDestroy", self.runnable)
