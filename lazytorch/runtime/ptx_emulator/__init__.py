"""A PTX emulator in NumPy: executes the text of PTX modules, thread by thread, and checks what a GPU would not.

    device = Emulator()
    address = device.allocate(nbytes)
    device.write(address, array)
    kernel = device.load(ptx).kernel("add")
    report = kernel.launch(grid=(4,), block=(256,), arguments=[address, np.int32(1000)])
    result = device.read(address, nbytes).view(np.float32)

Out-of-bounds and misaligned accesses, reads of what was never written or has not arrived yet, data races and divergent
barriers raise a KernelFault that names the PTX line and, if the module says so, the user's line. Instructions the emulator
does not know are a PtxError when the module is loaded."""

from lazytorch.runtime.ptx_emulator.counters import LaunchReport
from lazytorch.runtime.ptx_emulator.device import Emulator, Kernel, Module
from lazytorch.runtime.ptx_emulator.errors import (
    DataRace,
    DeviceMemoryError,
    DivergentSynchronisation,
    EndlessKernel,
    KernelFault,
    LaunchError,
    Location,
    MisalignedAccess,
    OutOfBoundsAccess,
    OutOfDeviceMemory,
    PtxError,
    Trap,
    UninitialisedRead,
    UnsupportedOperation,
)

__all__ = [
    "DataRace",
    "DeviceMemoryError",
    "DivergentSynchronisation",
    "Emulator",
    "EndlessKernel",
    "Kernel",
    "KernelFault",
    "LaunchError",
    "LaunchReport",
    "Location",
    "MisalignedAccess",
    "Module",
    "OutOfBoundsAccess",
    "OutOfDeviceMemory",
    "PtxError",
    "Trap",
    "UninitialisedRead",
    "UnsupportedOperation",
]
