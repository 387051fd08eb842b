"""What a federation did, said by itself: one that failed on its way must not look fast."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

AGREEMENT = 1e-3  #: relative, of how far two adapters moved and of their losses on the way
_FILE = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """What all rounds together came to."""

    steps: int  #: of all sites, counted where optimizers step
    losses: Sequence[float]  #: of every round, the mean over its sites
    change: float  #: Euclidean distance of the last global adapter from the first
    digest: str  #: of the last global adapter's values


class Counter:
    """How many steps optimizers have made."""

    steps = 0


@contextmanager
def counted_steps() -> Iterator[Counter]:
    """Count the steps of every optimizer of this process, whatever loop calls it."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    counter = Counter()

    def count(*_: object) -> None:
        counter.steps += 1

    hook = register_optimizer_step_post_hook(count)
    try:
        yield counter
    finally:
        hook.remove()


def outcome(
    steps: int, losses: Sequence[float], initial: Mapping[str, Tensor], final: Mapping[str, Tensor]
) -> Outcome:
    """From both global adapters; a final one that lacks a tensor is not a number's distance away.

    An aggregation without any reply leaves an empty adapter, which must not pass for one.
    """
    change, digest = math.nan, hashlib.sha256()
    if initial.keys() == final.keys():
        squares = ((final[name] - initial[name]).double().square().sum() for name in initial)
        change = math.sqrt(sum(map(float, squares)))
    for name in sorted(final):
        digest.update(final[name].contiguous().numpy().tobytes())
    return Outcome(steps, list(losses), change, digest.hexdigest())


def leave(found: Outcome, folder: Path) -> None:
    """Write it where the process that measures looks for it."""
    write_json(folder / _FILE, asdict(found))


def fetch(folder: Path, who: str, steps: int, rounds: int) -> dict[str, Any]:
    """What a process that has ended left of its federation.

    Raises:
        FedbenchError: it left nothing, made other than ``steps`` steps or ``rounds`` rounds, or
            its adapter is where it was.
    """
    if not (folder / _FILE).exists():
        raise FedbenchError(f"{who} ended without a word of what it did: its time says nothing.")
    found: dict[str, Any] = read_json(folder / _FILE)
    if (found["steps"], len(found["losses"])) != (steps, rounds):
        raise FedbenchError(
            f"{who} made {found['steps']} steps in {len(found['losses'])} rounds, not {steps} in "
            f"{rounds}: its time says nothing."
        )
    if not (0 < found["change"] < math.inf and all(map(math.isfinite, found["losses"]))):
        raise FedbenchError(f"{who} made {steps} steps and trained nothing: mend the benchmark.")
    return found


def check_same_end(every: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that federations of the same work moved their adapters as far, by the same losses.

    Raises:
        FedbenchError: two did not, so that a comparison of their times would say nothing.
    """
    there = [one for one in every if "missing" not in one]
    for one, other in pairwise(there):
        same_work = all(one[key] == other[key] for key in ("size", "shape", "steps", "rounds"))
        if same_work and not _alike([one["change"], *one["losses"]], other):
            raise FedbenchError(
                f"{one['who']} and {other['who']} did not train the same: they moved the adapter "
                f"by {one['change']:.4g} and {other['change']:.4g}, to losses of "
                f"{one['losses'][-1]:.4f} and {other['losses'][-1]:.4f}. Mend the benchmark."
            )


def _alike(mine: Sequence[float], other: Mapping[str, Any]) -> bool:
    theirs = [other["change"], *other["losses"]]
    return all(math.isclose(a, b, rel_tol=AGREEMENT) for a, b in zip(mine, theirs, strict=True))
