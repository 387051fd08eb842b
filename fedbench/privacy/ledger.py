"""The durable budget: what is released is written down before anybody can have seen it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedbench.errors import Damaged, FedbenchError
from fedbench.files import read_json, write_json
from fedbench.privacy.accounting import Accountant, Releases, epsilon


class BudgetSpent(FedbenchError):
    """One more release would exceed what somebody allowed; it was not made."""


LEDGER = "privacy.json"  #: what the file is called, in the folder of whoever keeps it
Ledger = Mapping[str, tuple[Releases, Sequence[str]]]  #: by key: what was released, of whom


def debit(
    path: Path,
    key: str,
    releases: Releases,
    units: Sequence[str],
    delta: float,
    accountant: Accountant,
    limit: float | None,
) -> dict[str, float]:
    """Write down that ``releases`` about ``units`` are about to happen; return each one's epsilon.

    The same ``key`` again is the same release, which costs nothing more; a key must therefore name
    all that the release is made of, its noise included.

    Raises:
        BudgetSpent: somebody's would exceed ``limit``. Nothing was written.
        FedbenchError: the key stands for another release. The same.
        Damaged: the ledger is. The same.
    """
    before = _read(path)
    if before.get(key, (releases, [*units])) != (releases, [*units]):
        raise FedbenchError(
            f"The privacy ledger {path} has another release under {key}: a release is never "
            "changed once it was written down."
        )
    after = before if key in before else {**before, key: (releases, [*units])}
    now = {unit: epsilon(of, delta, accountant) for unit, of in _by_unit(after, units).items()}
    worst = max(now, key=now.__getitem__, default=None)
    if limit is not None and worst is not None and not now[worst] <= limit:
        raise BudgetSpent(
            f"The privacy budget of {worst} is spent: its epsilon would be {now[worst]:.3f} at "
            f"delta {delta:g}, and {limit:g} is the limit. Nothing was released; more takes a "
            "larger privacy.epsilon."
        )
    if after is not before:
        write_json(path, after)
    return now


def total(
    path: Path, unit: str, delta: float, accountant: Accountant, more: Sequence[Releases] = ()
) -> float:
    """Epsilon of all that was written down about a unit, and of what may come on top of it.

    Raises:
        Damaged: the ledger is.
    """
    return epsilon([*made(path, unit), *more], delta, accountant)


def made(path: Path, unit: str, counts: Callable[[str], bool] = lambda key: True) -> list[Releases]:
    """What was written down about a unit under keys that count, those of a kind together.

    Raises:
        Damaged: the ledger is.
    """
    kept = {key: entry for key, entry in _read(path).items() if counts(key)}
    return _by_unit(kept, [unit])[unit]


def _by_unit(ledger: Ledger, units: Iterable[str]) -> dict[str, list[Releases]]:
    """Releases about each unit, those of the same kind counted together."""
    counts: dict[str, Counter[tuple[float, float]]] = {unit: Counter() for unit in units}
    for releases, about in ledger.values():
        for unit in about:
            if unit in counts:
                counts[unit][releases.noise, releases.rate] += releases.times
    return {
        unit: [Releases(*kind, count) for kind, count in kinds.items()]
        for unit, kinds in counts.items()
    }


def _read(path: Path) -> dict[str, tuple[Releases, Sequence[str]]]:
    """What was written down so far.

    Raises:
        Damaged: it is damaged; to go on without it would be to forget what was spent.
    """
    if not path.exists():
        return {}
    try:
        return {key: _entry(*told) for key, told in read_json(path).items()}
    except (AttributeError, TypeError, ValueError, FedbenchError):
        raise Damaged(
            f"The privacy ledger {path} is damaged: restore it from a backup, or take the budget "
            "as spent."
        ) from None


def _entry(releases: Any, units: Any) -> tuple[Releases, Sequence[str]]:
    noise, rate, times = releases
    if not (0 < noise < math.inf and 0 < rate <= 1 and type(times) is int and times >= 1):
        raise ValueError
    return Releases(float(noise), float(rate), times), [str(unit) for unit in units]
