"""A whole audit: every defence attacked, tokens read off, told on the terminal, as one record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from fedbench.leakage.audit import Plan, audit, rough_seconds
from fedbench.leakage.defences import DEFECT, Defence, standard_defences
from fedbench.leakage.inversion import invertible
from fedbench.leakage.inverting import ALL, EVERY_POSITION, QUERY, Inverted, invert
from fedbench.leakage.showing import FINDINGS, INVERTED, finding_row, inverted_row
from fedbench.provenance import fingerprint, provenance

SIZES = (1, 4, 16)  #: examples of a batch whose tokens are read off
_INVERSION = 3.0  #: rough seconds of one, which only the time left is told by
_ROOT = "fedbench.leakage.recording"  #: whose code a record depends on
_SHAPE = ("shadows", "pool", "canaries", "sites", "delta", "confidence")


def audited(plan: Plan, command: str, progress: bool = True) -> dict[str, Any]:
    """Audit the standard defences, print each row as soon as it is there; a record.

    Args:
        plan: of :func:`fedbench.leakage.audit.standard_plan`.
        command: that was given, for the record.
        progress: whether a bar tells the time left.

    Raises:
        FedbenchError: the plan cannot be carried out.
    """
    began, started = time.time(), time.perf_counter()
    # Before anything is computed: files may change meanwhile, and were not what was audited.
    origin = provenance(fingerprint(_ROOT)) | {"command": command}
    defences = standard_defences(plan.config, plan.expected)
    inversions = list(_inversions(plan, defences)) if invertible(plan.config.method) else []
    total = rough_seconds(plan, defences) + _INVERSION * len(inversions)
    layout = "{percentage:3.0f}% |{bar}| {elapsed} done, {remaining} left"
    with tqdm(total=total, disable=not progress, bar_format=layout, leave=False) as bar:
        found = list(_shown(FINDINGS, finding_row, audit(plan, defences, bar.update)))
        tokens = list(_shown(INVERTED, inverted_row, _done(inversions, bar.update)))
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "method": plan.config.method,
        "seed": plan.config.seed,
        "synthetic": True,  # facts, questions and answers are generated
        "plan": {name: getattr(plan, name) for name in _SHAPE},
        "minutes": round((time.perf_counter() - started) / 60, 1),
        # the task is a file of this machine, generated from what the code says
        "config": plan.config.model_dump(mode="json") | {"task": "leakage"},
        "findings": [finding.to_json() for finding in found],
        "inverted": [inverted.to_json() for inverted in tokens],
        "provenance": origin,
    }


def _inversions(plan: Plan, defences: Sequence[Defence]) -> Iterator[Callable[[], Inverted]]:
    """Of each size of batch: the first step, the queries alone, and every single update.

    What is wrong on purpose sends what no defence at all sends, which is there.
    """
    single = [d for d in defences if not d.hidden_in_mean and not d.name.startswith(DEFECT)]
    for size in SIZES:
        step = partial(invert, plan.config, size)
        yield partial(step, before=0, projections=EVERY_POSITION)
        yield partial(step, projections=QUERY)
        yield from (partial(step, defence, projections=ALL) for defence in single)


def _done(
    inversions: Sequence[Callable[[], Inverted]], tick: Callable[[float], object]
) -> Iterator[Inverted]:
    for inversion in inversions:
        yield inversion()
        tick(_INVERSION)


def _shown(heading: str, row: Any, found: Iterator[Any]) -> Iterator[Any]:
    """The same, each printed above the bar as soon as it is there."""
    _print(f"\n{heading}")
    for one in found:
        _print(row(one))
        yield one


def _print(line: str) -> None:
    with tqdm.external_write_mode():
        print(line, flush=True)
