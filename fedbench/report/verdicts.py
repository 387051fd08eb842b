"""From runs and the stated claims to verdicts: holds, does not hold, or cannot be decided.

A pure function of what it is given. Each verdict is about one cell (task, backbone, method,
partition) and one part of a claim; :func:`summaries` adds them up to one per part.

What decides is the interval of a paired difference, the wider of that over seeds and that over
clusters of items (:func:`fedbench.report.stats.interval`), and the one-sided p-value over clusters
of items, adjusted by Holm's method over all such tests of a claim. A claim is said not to hold only
where the same evidence shows the contrary: too few items or seeds leave it undecided.

Savings stand outside that adjustment, because they have no items: what a suite measured has a t
interval over its repeats, what is counted is exact. A measured saving is told of the configurations
that were measured, and of no other.

The margin of non-inferiority may be a share of what the reference gained. That gain is estimated
from the same items as the difference: with the margin at the estimate itself, a true loss of
exactly the margin would pass two or three times too often. So a claim holds by the margin at the
lower bound of the gain, and does not hold by that at the upper bound.

Nothing is decided between settings or methods without skill: the reference of non-inferiority, and
one of two settings that are compared, must be shown to beat the training majority.

Sources:
    Non-inferiority with a margin that keeps a share of what the reference gained at least: U.S. FDA
    (2016), *Non-Inferiority Clinical Trials to Establish Effectiveness: Guidance for Industry*.
    Many tests: Holm (1979), Scandinavian J. Statistics 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fedbench.report import stats
from fedbench.report.cells import Cell
from fedbench.report.claim_file import Claim, Claims, Part, Rule
from fedbench.report.saving import BY_SUITE, Configuration, Measured, Saving
from fedbench.report.scores import ACCURACY
from fedbench.report.stats import Interval
from fedbench.report.trials import Trial, trials
from fedbench.tasks.specfile import read_spec

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"
WHERE_DECIDED = "where decided"
SMALL = "cannot be decided at this scale"  #: there was too little to gain
PASSED, FAILED = "machinery check passed", "machinery check failed"
UNTESTED = "machinery check not decided"
_OF_LOOKALIKES = {HOLDS: PASSED, FAILS: FAILED, OPEN: UNTESTED, SMALL: UNTESTED}
_POSITIVE, _NEGATIVE = (HOLDS, PASSED), (FAILS, FAILED)

NOT_PLANNED = "the profile plans no such comparison"
NOT_MEASURED = "not measured on a real task"
#: one-sided level: a single test then agrees with a two-sided interval of level ``stats.LEVEL``
_LEVEL = (1 - stats.LEVEL) / 2


@dataclass(frozen=True)
class Verdict:
    """One part of a claim in one cell; numbers are fractions, None where there is none."""

    claim: str
    part: str
    task: str
    backbone: str
    method: str
    compute: str
    partition: str
    metric: str
    contrast: str
    synthetic: bool
    verdict: str
    reason: str
    mean: float | None = None  #: of the difference, or the share of the resource that is saved
    low: float | None = None
    high: float | None = None
    ci_kind: str | None = None
    margin: float | None = None  #: of non-inferiority, at the lower bound of the gain
    gain: float | None = None  #: of the reference over the untuned backbone
    gain_low: float | None = None
    gain_high: float | None = None
    p: float | None = None  #: one-sided, adjusted, for what the claim says
    n_seeds: int = 0
    n_repeats: int = 0  #: of a measured saving, which has neither seeds nor items
    n_test: int = 0
    runs: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The cell in words, the same for every part."""
        return f"{self.task} {self.backbone} {self.method} {self.partition}"

    @property
    def configuration(self) -> Configuration:
        """The cell, and how its backbone is computed."""
        return Configuration(self.task, self.backbone, self.method, self.compute, self.partition)


#: verdicts on the loss of accuracy, by claim, contrast and configuration
Losses = Mapping[tuple[str, str, Configuration], Verdict]


@dataclass(frozen=True)
class Summary:
    """What the cells of one part of a claim say together, look-alikes apart from real tasks."""

    claim: str
    part: str
    synthetic: bool
    verdict: str
    holds: int
    decided: int
    cells: tuple[Verdict, ...]
    lacking: str = ""  #: why it has no cells; empty if it has

    @property
    def by_suite(self) -> bool:
        """Whether it is about what only an energy suite can tell."""
        return any(cell.metric in BY_SUITE for cell in self.cells)

    @property
    def said(self) -> str:
        """How many of its cells hold, in words."""
        if self.lacking:
            return self.lacking
        left = len(self.cells) - self.decided
        verb = "passed" if self.synthetic else "holds"
        undecided = f", {left} not decided" if left else ""
        return f"{verb} on {self.holds} of {len(self.cells)}{undecided}"


def verdicts(
    stated: Claims, all_cells: Iterable[Cell], measured: Measured | None = None
) -> list[Verdict]:
    """A verdict for every part of every claim and every cell, in the order of file and tables.

    Nothing is run: a comparison that lacks a planned run cannot be decided. Savings of energy and
    memory come last, one for each configuration in ``measured``.
    """
    tried = [one for one in trials(stated, all_cells) if one.part.metric not in BY_SUITE]
    judged = _judge_all(tried, stated.rule)
    limited = {(v.claim, v.contrast, v.configuration): v for v in judged if v.metric == ACCURACY}
    told = [
        _counted(verdict, trial, limited) if trial.part.test == "saving" else verdict
        for verdict, trial in zip(judged, tried, strict=True)
    ]
    return [*told, *_measured(stated, limited, measured or {})]


def _judge_all(tried: Sequence[Trial], rule: Rule) -> list[Verdict]:
    """Judge every trial, its p-values adjusted over those of its claim that are tested."""
    families: dict[tuple[str, bool], list[int]] = {}
    for number, trial in enumerate(tried):
        families.setdefault((trial.claim.id, trial.synthetic), []).append(number)
    judged: dict[int, Verdict] = {}
    for members in families.values():
        family = [tried[number] for number in members]
        above = stats.holm([_p(trial, rule, 1) for trial in family])
        below = stats.holm([_p(trial, rule, -1) for trial in family])
        for number, *values in zip(members, above, below, strict=True):
            judged[number] = _judged(tried[number], rule, *values)
    return [judged[number] for number in range(len(tried))]


def _p(trial: Trial, rule: Rule, side: Literal[1, -1]) -> float:
    """That the difference lies above (1) or below (-1) the bound of that side; NaN if untested."""
    found = trial.difference
    if found is None or _too_small(trial, rule):
        return float("nan")
    holding, failing = _bounds(trial, rule)
    bound = holding if side > 0 else failing
    turned = replace(found, per_seed=side * found.per_seed, left_out=side * found.left_out)
    return stats.p_above(turned, side * bound)


def _bounds(trial: Trial, rule: Rule) -> tuple[float, float]:
    """Above the first the claim holds, below the second it does not."""
    gain = trial.gain
    return (-rule.margin(gain.low), -rule.margin(gain.high)) if gain else (0.0, 0.0)


def _too_small(trial: Trial, rule: Rule) -> str:
    """Why there is too little that could be lost or compared; empty if there is enough."""
    if trial.gain and trial.gain.low < rule.least_gain:
        return (
            f"{_reference(trial)} − base has the lower bound {points(trial.gain.low)}, and "
            f"{points(rule.least_gain)} points are needed"
        )
    if trial.skill and trial.skill.low <= 0:
        subject = (
            _reference(trial) if trial.gain else f"neither {trial.part.of} nor {trial.part.to}"
        )
        verb, lost = ("is not", "be lost") if trial.gain else ("is", "differ")
        return (
            f"{subject} {verb} shown to beat the training majority (the difference has the lower "
            f"bound {points(trial.skill.low)}), so there is no skill that could {lost}"
        )
    return ""


def _judged(trial: Trial, rule: Rule, above: float, below: float) -> Verdict:
    if trial.difference is None:
        return _verdict(trial, OPEN, trial.lacking)
    found, gain = stats.interval(trial.difference), trial.gain
    numbers: dict[str, Any] = {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "ci_kind": found.kind,
        "n_seeds": max(1, len(trial.difference.seeds)),
        "n_test": round(trial.difference.items),
    }
    if gain:
        numbers |= {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    if reason := _too_small(trial, rule):
        return _verdict(trial, SMALL, _with_edge(reason, trial), **numbers)
    bounds = _bounds(trial, rule)
    if gain:
        numbers["margin"] = -bounds[0]
    word, reason = decide(found, bounds, above, below)
    return _verdict(trial, word, _with_edge(reason, trial), p=above, **numbers)


def _with_edge(reason: str, trial: Trial) -> str:
    """The reason, and that a side might do better with a learning rate that was never tried."""
    return f"{reason}; {trial.edge}" if trial.edge else reason


def decide(
    found: Interval, bounds: tuple[float, float], above: float, below: float
) -> tuple[str, str]:
    """The word and its reason, from an interval, two bounds and two adjusted one-sided p-values.

    ``above`` belongs to the difference being above the first bound, ``below`` to its being below
    the second, which is not above the first.
    """
    holding, failing = (points(bound) if bound else "0" for bound in bounds)
    for beyond, said, p, word in (
        (found.low > bounds[0], f"above {holding}", above, HOLDS),
        (found.high < bounds[1], f"below {failing}", below, FAILS),
    ):
        if beyond and p < _LEVEL:
            return word, f"the interval lies {said}"
        if beyond:
            return OPEN, f"adjusted for the other tests of this claim p = {p:.2g}, not < {_LEVEL:g}"
    if holding == failing:
        return OPEN, f"the interval holds {holding}"
    return OPEN, f"the interval lies neither above {holding} nor below {failing}"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * fraction:+.1f}"


def _reference(trial: Trial) -> str:
    """What the subject is compared with, as settings and methods are named in tables."""
    part, setting = trial.part, trial.left.config.setting
    return part.to if part.of_settings else f"{part.to} {setting}"


def _verdict(trial: Trial, word: str, reason: str, **numbers: Any) -> Verdict:
    runs = trial.runs
    known = {"n_test": int(runs[0].metrics["n_test"])} if runs else {}
    where = Configuration.of(trial.left)
    given = {"runs": tuple(run.id for run in runs), **known, **numbers}
    return _told(trial.claim, trial.part, where, trial.synthetic, word, reason, **given)


def _told(
    claim: Claim,
    part: Part,
    where: Configuration,
    synthetic: bool,
    word: str,
    reason: str,
    **given: Any,
) -> Verdict:
    """A verdict in the words of its kind of task, without the numbers that are none."""
    return Verdict(
        claim=claim.id,
        part=part.name,
        **where._asdict(),
        metric=part.metric,
        contrast=f"{part.of} − {part.to}",
        synthetic=synthetic,
        verdict=_OF_LOOKALIKES[word] if synthetic else word,
        reason=reason,
        **{name: value for name, value in given.items() if _is_known(value)},
    )


def _is_known(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _counted(bare: Verdict, trial: Trial, limited: Losses) -> Verdict:
    """Bytes of an adapter do not depend on the seed: the first run of each side tells them."""
    if trial.lacking or trial.right is None:
        return bare
    left, right = (cell.runs[0].metrics["adapter_bytes"] for cell in (trial.left, trial.right))
    share = 1 - left / right
    saved = Saving(share, share, share, "counted", ci_kind="exact")
    loss = limited.get((bare.claim, bare.contrast, bare.configuration))
    word, reason = _saved_with_limited_loss(trial.part, saved, loss)
    return _verdict(trial, word, reason, n_seeds=len(trial.left.runs), **saved.numbers)


def _measured(stated: Claims, limited: Losses, measured: Measured) -> Iterator[Verdict]:
    """One for each configuration that was measured; what was not measured has none."""
    for claim in stated.claims:
        for part in claim.parts:
            for (resource, where), saved in measured.items():
                if (resource, where.method) == (part.metric, part.of):
                    loss = limited.get((claim.id, f"{part.of} − {part.to}", where))
                    word, reason = _saved_with_limited_loss(part, saved, loss)
                    synthetic = read_spec(where.task)[0].synthetic
                    given = saved.numbers | {"runs": loss.runs if loss else ()}
                    yield _told(claim, part, where, synthetic, word, reason, **given)


def _saved_with_limited_loss(part: Part, saved: Saving, loss: Verdict | None) -> tuple[str, str]:
    """A resource is saved with limited loss: both are needed, and either may be undecided."""
    word, reason = _is_saved(part, saved)
    if word != HOLDS:
        return word, reason
    word, also = _is_limited(loss)
    return word, f"{reason}; {also}"


def _is_saved(part: Part, saved: Saving) -> tuple[str, str]:
    what = part.metric.replace("_", " ")
    if saved.evidence != part.evidence:
        return OPEN, f"{what} is {saved.evidence}, and only {part.evidence} {what} decides"
    share = f"{100 * abs(saved.mean):.1f} %"
    if saved.low > 0:
        return HOLDS, f"saves {share} of {what}"
    if saved.high <= 0:
        return FAILS, f"needs {share} more {what}" if saved.mean < 0 else f"saves no {what}"
    return OPEN, f"the interval of what it saves of {what} holds 0"


def _is_limited(loss: Verdict | None) -> tuple[str, str]:
    if loss is None:
        return OPEN, "its loss of accuracy was not tested on this configuration"
    if loss.verdict in _POSITIVE:
        return HOLDS, "its loss of accuracy is limited"
    if loss.verdict in _NEGATIVE:
        return FAILS, "its loss of accuracy is not limited"
    return OPEN, "its loss of accuracy cannot be decided"


def summaries(stated: Claims, judged: Sequence[Verdict]) -> list[Summary]:
    """One for every part of every claim, and for look-alikes and real tasks where both are there.

    A part holds only if it holds in every cell that is decided, and at least one is; its verdict
    says so where others are not. What only a suite can tell is told of real tasks too, measured
    there or not.
    """
    return [
        summary
        for claim in stated.claims
        for part in claim.parts
        for summary in _summaries_of(claim, part, judged)
    ]


def _summaries_of(claim: Claim, part: Part, judged: Sequence[Verdict]) -> Iterator[Summary]:
    mine = [v for v in judged if (v.claim, v.part) == (claim.id, part.name)]
    suite = part.metric in BY_SUITE
    kinds = {v.synthetic for v in mine} | ({False} if suite or not mine else set())
    for synthetic in sorted(kinds):
        some = tuple(v for v in mine if v.synthetic == synthetic)
        held = sum(v.verdict in _POSITIVE for v in some)
        against = sum(v.verdict in _NEGATIVE for v in some)
        word = _together(held, against, some)
        shown = _OF_LOOKALIKES[word] if synthetic else word
        if word == HOLDS and held < len(some):
            shown = f"{shown} {WHERE_DECIDED}"
        lacking = "" if some else NOT_MEASURED if suite else NOT_PLANNED
        yield Summary(claim.id, part.name, synthetic, shown, held, held + against, some, lacking)


def _together(held: int, against: int, some: Sequence[Verdict]) -> str:
    if against:
        return FAILS
    if held:
        return HOLDS
    return SMALL if some and all(v.verdict == SMALL for v in some) else OPEN
