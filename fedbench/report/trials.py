"""From cells to the comparisons that a claim asks for, each with what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from fedbench.config import PartitionConfig, RunConfig
from fedbench.models.fresh_weights import SUFFIX
from fedbench.profiles import ADAMW, FEDAVG
from fedbench.report import stats
from fedbench.report.cells import Cell, Holders, alike, holders
from fedbench.report.claim_file import Claim, Claims, Part
from fedbench.report.scores import ACCURACY, mean_of, own_site
from fedbench.report.searches import at_an_edge
from fedbench.report.stats import Estimate, Interval
from fedbench.store import Run
from fedbench.tasks.specfile import read_spec

#: what two cells have in common when settings of theirs are compared, and when methods are
_ALIKE = ("task", "backbone", "labels", "train_limit", "test_limit", "max_tokens")
_SETTINGS_ALIKE = (*_ALIKE, "method", "compute", "optimizer", "own_passes")
_METHODS_ALIKE = (
    *(*_ALIKE, "setting", "partition", "rule", "codec", "participation"),
    *("optimizer", "own_passes"),
)

_Score = Callable[[Cell, str, PartitionConfig], Estimate | None]


@dataclass(frozen=True)
class Trial:
    """A comparison before it is judged."""

    claim: Claim
    part: Part
    left: Cell
    right: Cell | None
    synthetic: bool
    lacking: str  #: why it cannot be tested; empty if it can
    runs: tuple[Run, ...] = ()
    difference: Estimate | None = None
    gain: Interval | None = None  #: of the reference over the untuned backbone
    #: of the reference over always giving the commonest answer; where one setting must beat
    #: another, of the better of the two
    skill: Interval | None = None
    edge: str = ""  #: which learning rates ended at the edge of their search


def trials(stated: Claims, all_cells: Iterable[Cell]) -> list[Trial]:
    """A trial for every part of every claim and every cell, in the order of file and tables."""
    found = [cell for cell in all_cells if _bears_on_claims(cell.config)]
    score = _scorer(holders(found))
    return [
        _trial(claim, part, cell, found, score)
        for claim in stated.claims
        for part in claim.parts
        for cell in found
        if _is_subject(cell, part)
    ]


def _bears_on_claims(config: RunConfig) -> bool:
    """Whether it is no control (shuffled labels, an untrained backbone), nor wrong on purpose.

    Claims are about FedAvg with one adapter for all sites, trained by the usual optimizer: any
    other rule would be judged as "federated".
    """
    control = config.labels != "true" or config.backbone.endswith(SUFFIX)
    usual = config.setting != "federated" or (
        (config.rule, config.optimizer, config.own_passes) == (FEDAVG, ADAMW, 0)
        and not config.partition.ranks
    )
    return usual and not control and not config.defective


def _is_subject(cell: Cell, part: Part) -> bool:
    if part.of_settings:
        return cell.config.setting == part.of
    return (cell.config.setting, cell.config.method) == ("federated", part.of)


def _trial(claim: Claim, part: Part, cell: Cell, found: Sequence[Cell], score: _Score) -> Trial:
    other, role = _counterpart(cell, part, found), part.to
    sides = {part.of: [cell], role: other}
    needs_gain = part.test == "non-inferiority"
    if needs_gain and other:
        sides["base"] = _untuned(other[0], found)
    lacking = "; ".join(why for name, some in sides.items() if (why := _lack(name, some)))
    used = [some[0] for some in sides.values() if some]
    bare = Trial(
        claim,
        part,
        cell,
        right=other[0] if other else None,
        synthetic=_synthetic(cell),
        lacking=lacking,
        runs=tuple(run for one in used for run in one.runs),
    )
    if lacking or part.test == "saving":
        return bare
    dealt = cell.config.partition
    left, right, *base = (score(each, part.metric, dealt) for each in used)
    difference = _difference(left, right)
    gained = _difference(right, base[0]) if needs_gain else None
    if difference is None or (needs_gain and gained is None):
        return replace(bare, lacking="its runs have no item or no seed in common")
    skilled = used[1:2] if needs_gain else used[:2]
    return replace(
        bare,
        difference=difference,
        edge=at_an_edge(bare.runs),
        gain=stats.interval(gained) if gained else None,
        skill=max(map(_skill, skilled), key=lambda interval: interval.low),
    )


@cache
def _skill(cell: Cell) -> Interval:
    """What the cell scores above the commonest answer of its training data, on common items."""
    above = _difference(mean_of(cell, "correct"), mean_of(cell, "majority"))
    assert above is not None  # both are of the same items
    return stats.interval(above)


def _counterpart(cell: Cell, part: Part, found: Sequence[Cell]) -> list[Cell]:
    if not part.of_settings:
        return [c for c in found if c.config.method == part.to and _same(cell, c, _METHODS_ALIKE)]
    return [
        other
        for other in found
        if other.config.setting == part.to
        and _same(cell, other, _SETTINGS_ALIKE)
        and alike(cell, other)
    ]


def _untuned(reference: Cell, found: Sequence[Cell]) -> list[Cell]:
    return [
        cell
        for cell in found
        if cell.config.setting == "base"
        and _same(reference, cell, _SETTINGS_ALIKE)
        and alike(reference, cell)
    ]


def _same(left: Cell, right: Cell, fields: Sequence[str]) -> bool:
    return all(getattr(left.config, name) == getattr(right.config, name) for name in fields)


def _lack(role: str, candidates: Sequence[Cell]) -> str:
    """What is missing of one side of a comparison; empty if it is whole."""
    if not candidates:
        return f"not planned: {role}"
    if len(candidates) > 1:
        return f"not clear: {len(candidates)} cells could be {role}"
    left = candidates[0].planned - len(candidates[0].runs)
    return f"not run: {left} of {candidates[0].planned} runs of {role}" if left else ""


def _synthetic(cell: Cell) -> bool:
    """Whether its task is generated; known of the task where nothing was run."""
    if cell.runs:
        return bool(cell.runs[0].metrics["synthetic"])
    return read_spec(cell.config.task)[0].synthetic


def _scorer(where: Holders) -> _Score:
    """Scores a cell on the common items, or on the sites' own as dealt in a partition; once."""
    known: dict[tuple[int, PartitionConfig | None], Estimate | None] = {}

    def score(cell: Cell, metric: str, partition: PartitionConfig) -> Estimate | None:
        common = metric == ACCURACY
        key = id(cell), None if common else partition
        if key not in known:
            known[key] = mean_of(cell, "correct") if common else own_site(cell, partition, where)
        return known[key]

    return score


def _difference(left: Estimate | None, right: Estimate | None) -> Estimate | None:
    return stats.minus(left, right) if left and right else None
