"""Which CUDA devices there are: those of the NVIDIA driver, or the PTX emulator."""

from __future__ import annotations

from lazytorch.config import config
from lazytorch.runtime.cuda.driver import Driver, NoDevice


def drivers() -> list[Driver]:
    """One driver per device. Raises NoDevice."""
    kind, *details = config.cuda.split(":")
    if kind == "emulator" and len(details) <= 2 and all(count.isdigit() for count in details[1:]):
        from lazytorch.runtime.cuda.emulated import EmulatedDriver  # neither is loaded unless it is asked for

        architecture = details[0] if details else "sm_80"
        count = int(details[1]) if len(details) > 1 else 1
        return [EmulatedDriver(architecture) for _ in range(count)]
    if kind == "off":
        raise NoDevice("LAZYTORCH_CUDA=off hides all CUDA devices")
    if kind:
        raise ValueError(
            f"LAZYTORCH_CUDA={config.cuda!r}: expected emulator, emulator:sm_80 (or another architecture), "
            "emulator:sm_80:2 (so many devices) or off"
        )
    from lazytorch.runtime.cuda.pycuda_driver import pycuda_drivers

    return pycuda_drivers()
