"""What bytes buy: every codec beside fp32, and every adapter beside full fine-tuning.

Runs are compared within a task, backbone, method, partition and rule, paired over seeds and items.
How many codecs are tried decides how easily one of them looks free, or harmful, so p-values are
adjusted over them. That no loss is shown does not say that there is none: beside it stands what
would have been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from fedbench.report import stats
from fedbench.report.cells import Cell, cells, whole
from fedbench.report.gains import gains_over, untested
from fedbench.report.scores import ACCURACY, mean_of
from fedbench.report.tables import SIGNIFICANT, facts_of, score_row
from fedbench.store import MASKED, Run

if TYPE_CHECKING:
    import pandas as pd

PLAIN, FULL = "fp32", "full"
SHOWN, NOT_SHOWN, GAIN = "loss shown", "loss not shown", "gain shown"
OPEN = "interval below 0, but no loss shown once adjusted"
BYTES = ("up", "down", "validation")  #: of an update, of what it starts from, and of a score
CODEC_COLUMNS = (
    *("task", "task_title", "backbone", "method", "partition", "codec", "codec_down", "rule"),
    *(f"bytes_{way}" for way in BYTES),
    *("bytes_up_all", "bytes_all", "times_fewer_up", "times_fewer"),
    *("mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_test", "per_seed"),
    *("gain", "gain_low", "gain_high", "gain_kind", "gain_per_seed", "p"),
    *("smallest_difference", "verdict", "on_front"),
    *("rounds", "passes", "learning_rate", "synthetic", "runs"),
)
_ALIKE = ("task", "backbone", "method", "partition", "rule", "optimizer", "labels", "train_limit")


def codec_table(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per method and pair of codecs, beside fp32 in both directions; values in fractions.

    ``bytes_up``, ``bytes_down`` and ``bytes_validation`` are those of one site and round, on
    buffers, headers and all: an update, the message that it answers, and both ways of scoring the
    new adapter. ``bytes_up_all`` and ``bytes_all`` are all updates of a run, and all that crossed
    the wire. ``times_fewer_up`` and ``times_fewer`` hold fp32's against them. All are means over
    seeds.

    ``gain`` is the difference to fp32 on the common test items, ``p`` its two-sided p-value,
    adjusted by Holm's method over the codecs of the method, and ``smallest_difference`` what would
    have been seen after it with a power of 80 %. ``on_front`` tells whether no other row of the
    task has fewer bytes up and at least its accuracy, or as few and more: by estimates, untested.
    """
    import pandas as pd

    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in federated(runs):
        groups.setdefault(tuple(getattr(cell.config, name) for name in _ALIKE), []).append(cell)
    rows = [row for group in groups.values() for row in _beside(group, is_plain)]
    frame = pd.DataFrame(rows, columns=list(CODEC_COLUMNS))
    frame["on_front"] = [_on_front(row, rows) for row in rows]
    return frame


def full_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The columns of :func:`codec_table` for every adapter, beside full fine-tuning in fp32.

    Adjusted over all adapters of a task and backbone, with all their codecs; other codecs of full
    fine-tuning are left out.
    """
    import pandas as pd

    groups: dict[tuple[Any, ...], list[Cell]] = {}
    names = [name for name in _ALIKE if name != "method"]
    for cell in federated(runs):
        if cell.config.method != FULL or is_plain(cell):
            groups.setdefault(tuple(getattr(cell.config, n) for n in names), []).append(cell)
    found = [group for group in groups.values() if any(map(_is_full, group))]
    rows = [row for group in found for row in _beside(group, _is_full)]
    return pd.DataFrame(rows, columns=[n for n in CODEC_COLUMNS if n != "on_front"])


def is_plain(cell: Cell) -> bool:
    """Whether everything is sent as it is."""
    return cell.config.codec == cell.config.codec_down == PLAIN


def sent(run: Run) -> dict[str, float]:
    """Bytes of one site and round: ``up``, ``down`` and, both ways, ``validation``."""
    trained = sum(len(record["cohort"]) for record in run.rounds)
    everybody = sum(bool(site.get("trained", True)) for site in run.sites)
    asked = trained if run.config.validated_by == "cohort" else everybody * len(run.rounds)
    calls = {"up": trained, "down": trained, "validation": asked}
    return {way: total(run, way) / calls[way] for way in BYTES}


def total(run: Run, *ways: str) -> int:
    """Bytes of all rounds and sites in these ways."""
    return sum(record.get(f"bytes_{way}", 0) for record in run.rounds for way in ways)


def federated(runs: Iterable[Run]) -> list[Cell]:
    """Cells of federations that were run: methods in the order of tables, most bytes up first."""
    found = [c for c in whole(cells(runs)) if c.runs and c.config.setting == "federated"]
    place = {about: n for n, about in enumerate(dict.fromkeys(c.about for c in found))}
    return sorted(found, key=lambda cell: (place[cell.about], -_uploaded(cell)))


def _is_full(cell: Cell) -> bool:
    return cell.config.method == FULL and is_plain(cell)


def _beside(group: Sequence[Cell], usual: Any) -> list[dict[str, Any]]:
    """A row for every cell, those that others are compared with first."""
    reference = next((cell for cell in group if usual(cell)), None)
    ordered = sorted(group, key=lambda cell: (cell is not reference, -_uploaded(cell)))
    scores = {cell: score for cell in ordered if (score := mean_of(cell, "correct"))}
    others = {cell: score for cell, score in scores.items() if cell is not reference}
    usual = scores.get(reference) if reference else None
    told = gains_over(usual, others, _verdict)
    return [
        _row(cell, score) | _fewer(cell, reference) | told.get(cell, untested())
        for cell, score in scores.items()
    ]


def _uploaded(cell: Cell) -> float:
    return mean(total(run, "up") for run in cell.runs)


def _verdict(found: stats.Interval, p: float) -> str:
    if p < SIGNIFICANT:
        return SHOWN if found.mean < 0 else GAIN
    return OPEN if found.high < 0 else NOT_SHOWN


def _row(cell: Cell, score: stats.Estimate) -> dict[str, Any]:
    facts, each = facts_of(cell), [sent(run) for run in cell.runs]
    names = ("task", "task_title", "backbone", "method", "partition", "rule", "passes")
    return {
        **{name: facts[name] for name in (*names, "synthetic", "runs")},
        **score_row(cell, ACCURACY, score),
        "codec": cell.config.codec,
        "codec_down": cell.config.codec_down,
        **{f"bytes_{way}": mean(one[way] for one in each) for way in BYTES},
        "bytes_up_all": _uploaded(cell),
        "bytes_all": mean(total(run, *BYTES, *MASKED) for run in cell.runs),
        "rounds": cell.config.rounds,
        "learning_rate": cell.config.learning_rate,
    }


def _fewer(cell: Cell, reference: Cell | None) -> dict[str, float]:
    """How many times more bytes the reference sent, over the seeds that both have."""
    if reference is None:
        return {}
    both = {*cell.seeds} & {*reference.seeds}

    def bytes_of(one: Cell, *ways: str) -> int:
        return sum(total(run, *ways) for run in one.runs if run.config.seed in both)

    ways = {"times_fewer_up": ("up",), "times_fewer": (*BYTES, *MASKED)}
    return {n: bytes_of(reference, *w) / bytes_of(cell, *w) for n, w in ways.items() if both}


def _on_front(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    paid, got = row["bytes_up_all"], row["mean"]
    return not any(
        other["task"] == row["task"]
        and (other["bytes_up_all"], -other["mean"]) != (paid, -got)
        and other["bytes_up_all"] <= paid
        and other["mean"] >= got
        for other in rows
    )


def say_codecs(frame: pd.DataFrame) -> str:
    """For each method, which codecs are shown to lose something, and which are not."""
    known = frame[frame["gain"].notna()]
    groups = known.groupby(["task_title", "method"], sort=False)
    lines = [f"- {title}, {name}: {_said(part)}." for (title, name), part in groups]
    return "\n".join(lines) or "Nothing was run beside what is compared with."


def _said(part: pd.DataFrame) -> str:
    told = [
        f"{verdict} with " + ", ".join(_one(row) for row in rows.to_dict("records"))
        for verdict, rows in part.groupby("verdict", sort=True)
    ]
    seen = 100 * part["smallest_difference"].max()
    return (
        f"{'; '.join(told)}. P adjusted over {len(part)}; so adjusted, {seen:.1f} points would "
        "have been seen of any of them"
    )


def _one(row: Mapping[Any, Any]) -> str:
    gain, low, high = (f"{100 * row[name]:+.1f}" for name in ("gain", "gain_low", "gain_high"))
    return f"{codecs_of(row)} ({row['times_fewer_up']:.3g} times fewer up, {gain} [{low}, {high}])"


def codecs_of(row: Mapping[Any, Any]) -> str:
    """What is said of both directions: the codec of updates, and of broadcasts if not fp32."""
    down = row["codec_down"]
    return str(row["codec"]) if down == PLAIN else f"{row['codec']}, down {down}"
