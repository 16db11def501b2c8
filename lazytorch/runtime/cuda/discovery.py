"""Which CUDA devices there are: those of the NVIDIA driver, or the PTX emulator."""

from __future__ import annotations

from lazytorch.config import config
from lazytorch.runtime.cuda.driver import Driver, NoDevice


def drivers() -> list[Driver]:
    """One driver per device. Raises NoDevice."""
    kind, _, architecture = config.cuda.partition(":")
    if kind == "emulator":
        from lazytorch.runtime.cuda.emulated import EmulatedDriver  # neither is loaded unless it is asked for

        return [EmulatedDriver(architecture or "sm_80")]
    if kind == "off":
        raise NoDevice("LAZYTORCH_CUDA=off hides all CUDA devices")
    if kind:
        raise ValueError(
            f"LAZYTORCH_CUDA={config.cuda!r}: expected emulator, emulator:sm_80 (or another architecture) or off"
        )
    from lazytorch.runtime.cuda.pycuda_driver import pycuda_drivers

    return pycuda_drivers()
