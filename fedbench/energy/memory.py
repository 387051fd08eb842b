"""Peak memory of this process since it was last reset."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_RESET_PEAK = "5"  #: what proc(5) says to write into clear_refs


def reset_peak() -> None:
    """Start a new peak; where the system cannot, the old one goes on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int:
    """Bytes of resident memory, or of the GPU's memory where the run used one."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
