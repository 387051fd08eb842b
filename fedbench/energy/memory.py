"""Peak memory of this process, phase by phase."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedbench.phases import Observer, Phase

_RESET_PEAK = "5"  #: what proc(5) says to write into clear_refs


class Peaks:
    """Notes the peak inside each phase of a run, beside another observer.

    Phases differ: scoring folds the adapter into copies of the weights where it can, which takes
    memory that training does not need.
    """

    def __init__(self, observer: Observer, device: str) -> None:
        self._observer, self._device = observer, device
        self._open: list[Phase] = []
        self.by_phase: dict[str, int] = {}  #: bytes

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Note the peak of the block; what it interrupts is noted before and goes on after."""
        self._note()
        self._open.append(name)
        try:
            with self._observer(name):
                yield
        finally:
            self._note()
            self._open.pop()

    def _note(self) -> None:
        if self._open:
            name = self._open[-1]
            self.by_phase[name] = max(self.by_phase.get(name, 0), peak_bytes(self._device))
        reset_peak()


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
