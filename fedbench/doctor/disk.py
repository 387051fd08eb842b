"""The disk: room, and whether it does what stored results rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedbench.doctor.finding import FAIL, NOTE, OK, Finding
from fedbench.errors import FedbenchError
from fedbench.files import write_bytes
from fedbench.locks import locked
from fedbench.paths import home
from fedbench.report.plan import GB, existing, needed

_LEAST = 0.2e9  #: bytes that temporary files want
_TRY = (
    "import sys; from pathlib import Path; from fedbench.locks import Busy, locked\n"
    "try:\n    with locked(Path(sys.argv[1]), wait=False): pass\n"
    "except Busy:\n    sys.exit(3)"
)


def room() -> Finding:
    """What ``smoke`` writes fits where runs are kept."""
    folder = existing(home())
    free = shutil.disk_usage(folder).free
    asked = sum(need.disk for need in needed("smoke"))
    said = f"{free / GB:.1f} GB free in {folder}, smoke writes about {asked / GB:.1f} GB"
    if free > asked:
        return Finding("disk", OK, said)
    return Finding("disk", FAIL, f"{said}: free some, or set FEDBENCH_HOME to another disk.")


def temporary() -> Finding:
    """There is room for temporary files."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    said = f"{free / GB:.1f} GB free in {folder}"
    if free > _LEAST:
        return Finding("temporary files", OK, said)
    return Finding("temporary files", FAIL, f"{said}: free some, or set TMPDIR to another disk.")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder on the disk of the home that is there for the block only; the home is not made."""
    folder = existing(home())
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            yield Path(scratch)
    except OSError as error:
        raise FedbenchError(
            f"{error.filename or folder} ({error.strerror}): make the folder writable, or set "
            "FEDBENCH_HOME to one that is."
        ) from None


def writing() -> Finding:
    """Files can be written, synced and renamed where runs are kept."""
    try:
        with _scratch() as scratch:
            write_bytes(scratch / "file", b"before")
            write_bytes(scratch / "file", b"after")
            whole = (scratch / "file").read_bytes() == b"after"
    except FedbenchError as error:
        return Finding("writing", FAIL, str(error))
    if not whole:
        return Finding("writing", FAIL, f"{home()} loses what is written: use another disk.")
    return Finding("writing", OK, f"{existing(home())} can be written, synced and renamed in")


def names() -> Finding:
    """Names that differ in case are two files."""
    try:
        with _scratch() as scratch:
            write_bytes(scratch / "a", b"")
            distinct = not (scratch / "A").exists()
    except FedbenchError as error:
        return Finding("names", FAIL, str(error))
    if distinct:
        return Finding("names", OK, "upper and lower case are told apart")
    return Finding("names", NOTE, "case does not count here: name no two sites alike but for it.")


def locks() -> Finding:
    """A lock that one process holds keeps another out."""
    try:
        with _scratch() as scratch, locked(scratch / "lock"):
            command = [sys.executable, "-c", _TRY, str(scratch / "lock")]
            other = subprocess.run(command, capture_output=True, timeout=30, check=False)
    except FedbenchError as error:
        return Finding("locks", FAIL, str(error))
    if other.returncode == 3:
        return Finding("locks", OK, "a second process is kept out")
    return Finding(
        "locks", FAIL,
        f"the disk of {existing(home())} does not keep a second process out, as some network disks "
        "do not: set FEDBENCH_HOME to a local one.",
    )  # fmt: skip


def own_home() -> Finding:
    """The folder of all that is computed can be entered by this user."""
    folder = existing(home())
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding("home", OK, str(home().absolute()))
    return Finding("home", FAIL, f"{folder} is not yours to write: chown it, or set FEDBENCH_HOME.")


CHECKS = (own_home, room, temporary, writing, names, locks)
