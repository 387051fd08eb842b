"""``python -m fedbench doctor``: whether this machine can do what fedbench asks of it.

Every check is a function without arguments that looks at one thing and returns a
:class:`~fedbench.doctor.finding.Finding`. None changes anything, and none may fail: what cannot be
looked at is told as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fedbench.doctor import data, disk, environment, machine
from fedbench.doctor.finding import NOTE, Finding
from fedbench.report.status import aligned

Check = Callable[[], Finding]
CHECKS: tuple[Check, ...] = (*machine.CHECKS, *environment.CHECKS, *disk.CHECKS, *data.CHECKS)


def examine(checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """What each check finds, in their order."""
    return [_looked_at(check) for check in checks]


def _looked_at(check: Check) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever is odd here must not hide what the others find
        what = check.__name__.replace("_", " ")
        reason = " ".join(str(error).split())[:200]
        return Finding(what, NOTE, f"could not be looked at ({type(error).__name__}: {reason})")


def told(found: Sequence[Finding]) -> list[str]:
    """The lines that are printed: all findings, then how many are to be mended."""
    failures = sum(one.state == "FAIL" for one in found)
    last = f"{failures} to be mended first." if failures else "Nothing stands in the way."
    return [*aligned([(one.state, one.what, one.told) for one in found]), "", last]
