"""What a site's update tells about its examples, drawn from recorded audits: defences as rows.

An attack that fails shows protection only where the model learnt something of the examples that
were attacked: how well each defence lets a site fit its own members stands beside every attack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.errors import FedbenchError
from fedbench.leakage import measures
from fedbench.leakage.canaries import thresholds
from fedbench.leakage.measures import Counts
from fedbench.records import Record
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("lora", "ia3")  #: that are asked for; one without a record is a row that says so
HARDLY = 0.1  #: of the fit without a defence: below it an attack that fails shows nothing
NOTHING_LEARNT = "learnt hardly anything: shows no protection"
TELLS, TELLS_NOT = "tells who was there", "no leak proven"
REFUTED, KEPT, BLIND = "refuted", "not refuted", "not refuted, and could not have been"
RANGE, WITHIN = "least to greatest seed", "one seed: Clopper-Pearson of rates"
#: Standard errors above a half that an AUC of guesses exceeds in less than 1 of 1000: 3.09 would do
#: by loss; attacks that learn from the other shadows' coins vary up to 1.5 times as much.
_BEYOND = 5
#: of a finding, by column: what is told as mean over seeds with its range
_MEANS: Mapping[str, str] = {
    "auc_loss": "auc_loss",
    "auc_surprise": "auc_surprise",
    "auc_ratio": "auc_ratio",
    "exposure": "exposure_inserted",
    "exposure_other": "exposure_other",
    "loss_before": "loss_before",
    "loss_inside": "loss_inside",
    "loss_outside": "loss_outside",
}
_RATES = ("tpr_loss", "tpr_surprise", "tpr_ratio")
_SPREAD = (*_MEANS, *_RATES, "fit", "tokens", "tokens_baseline")
LEAKAGE_COLUMNS = (
    *("method", "defence"),
    *(f"{name}{end}" for name in _SPREAD for end in ("", "_low", "_high")),
    *(
        "auc_guessing",
        "exposure_most",
        "exposure_chance",
        "epsilon",
        "epsilon_guesses",
        "epsilon_provable",
    ),
    *("claimed", "delta", "check", "check_tpr", "check_fpr", "verdict"),
    *("kind", "shadows", "canaries", "pool", "trials", "n_seeds", "seeds", "synthetic"),
)
TOKEN_COLUMNS = (
    *("method", "defence", "step", "projections", "batch", "tokens"),
    *("span_precision", "span_recall", "recovered", "recovered_low", "recovered_high"),
    *("baseline", "kind", "n_seeds", "seeds", "synthetic"),
)
_FIRST, _LATER = "first", "later"
_EVERYTHING = ("q_proj", "k_proj", "v_proj")


def leakage(records: Iterable[Record], methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """A row per method and defence, in the order of the audit; shares are fractions.

    ``auc_*`` and ``tpr_*`` (at 1 % FPR) are those of membership inference by loss, by likelihood
    ratio, and (``surprise``) by likelihood under models without the example; an AUC of guesses
    exceeds ``auc_guessing`` in less than 1 of 1000. ``exposure`` is that of canaries in bits,
    ``exposure_other`` that of those that were not inserted, ``exposure_chance`` what guessing
    gives. ``fit`` is by how much training lowered the loss of members, as a share of what it did
    without a defence. ``tokens`` is the share of a single example's tokens that are read off one
    step, ``tokens_baseline`` that of the commonest tokens. ``*_low`` and ``*_high`` are as ``kind``
    says.

    ``epsilon`` is proven at 95 % from the counts of all seeds together, and ``epsilon_guesses`` in
    the way that needs no independent canaries; no outcome of so many trials could prove more than
    ``epsilon_provable``. ``check`` says whether counts refute what is ``claimed``.
    """
    import pandas as pd

    found = list(records)
    rows = [row for method in methods for row in _rows(method, _of(method, found))]
    return pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS))


def leaked_tokens(records: Iterable[Record]) -> pd.DataFrame:
    """Tokens read off the gradient of one step: a row per method, defence, step and batch size.

    ``recovered`` is the share of a batch's tokens among as many that lie nearest to the gradient's
    span, ``baseline`` that among the commonest tokens of other examples.
    """
    import pandas as pd

    groups: dict[tuple[Any, ...], list[tuple[Record, Mapping[str, Any]]]] = {}
    for record in records:
        for one in record["inverted"]:
            groups.setdefault((record["method"], *_about(one)), []).append((record, one))
    rows = [_token_row(about, pairs) for about, pairs in groups.items()]
    return pd.DataFrame(rows, columns=list(TOKEN_COLUMNS))


def _of(method: str, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record["method"] == method]


def _rows(method: str, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    if not records:
        yield {"method": method, "defence": NOT_RUN, "verdict": NOT_RUN, "n_seeds": 0}
        return
    shapes = {str(record["plan"]) for record in records}
    names = [tuple(one["defence"] for one in record["findings"]) for record in records]
    if len(shapes) > 1 or len(set(names)) > 1:
        raise FedbenchError(
            f"Recorded audits of {method} differ in size or defences and cannot be told together: "
            "record all of its seeds again."
        )
    for place, name in enumerate(names[0]):
        yield _row(name, [record["findings"][place] for record in records], records)


def _row(
    name: str, found: Sequence[Mapping[str, Any]], records: Sequence[Record]
) -> dict[str, Any]:
    plan = records[0]["plan"]
    values = {column: [one[field] for one in found] for column, field in _MEANS.items()}
    values["fit"] = [_fit(one, record) for one, record in zip(found, records, strict=True)]
    told: dict[str, Any] = {}
    for column, per_seed in values.items():
        told |= _spread(column, per_seed)
    for column in _RATES:
        told |= _rates(column, [one[column] for one in found])
    tokens = [one for record in records for one in _single(record, name)]
    told |= _spread("tokens", [one["nearest"]["recall"] for one in tokens])
    told |= _spread("tokens_baseline", [one["baseline"]["recall"] for one in tokens])
    proof = _proof(found, plan)
    guessing = _guessing(plan["pool"] * plan["shadows"] * len(records))
    seen = max(told[f"auc_{attack}"] for attack in ("loss", "surprise", "ratio")) > guessing
    proven = proof["epsilon"] > 0  # alone: with a second bound of 95 % they would err more often
    return {
        "method": records[0]["method"],
        "defence": name,
        **told,
        **proof,
        "auc_guessing": guessing,
        "exposure_most": found[0]["exposure_most"],
        "exposure_chance": _by_chance(found[0]["exposure_most"]),
        "verdict": _verdict(told["fit"], seen or proven),
        "kind": RANGE if len(records) > 1 else WITHIN,
        "shadows": plan["shadows"],
        "canaries": plan["canaries"],
        "pool": plan["pool"],
        "n_seeds": len(records),
        "seeds": _seeds(records),
        "synthetic": all(record["synthetic"] for record in records),
    }


def _fit(one: Mapping[str, Any], record: Record) -> float:
    """How much better members are fitted than before training, of what an undefended site does."""
    plainly = record["findings"][0]
    gained = one["loss_before"] - one["loss_inside"]
    return float(gained / (plainly["loss_before"] - plainly["loss_inside"]))


def _spread(column: str, per_seed: Sequence[float]) -> dict[str, float]:
    """Mean over seeds, with the least and the greatest where there are several."""
    if not per_seed:
        return {}
    several = len(per_seed) > 1
    least, most = (min(per_seed), max(per_seed)) if several else (np.nan, np.nan)
    return {column: float(np.mean(per_seed)), f"{column}_low": least, f"{column}_high": most}


def _rates(column: str, per_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The same of rates, which have an interval within one seed."""
    if len(per_seed) > 1:
        return _spread(column, [one["value"] for one in per_seed])
    (only,) = per_seed
    return {column: only["value"], f"{column}_low": only["low"], f"{column}_high": only["high"]}


def _single(record: Record, defence: str) -> list[Mapping[str, Any]]:
    """What was read off one step on a single example, from all that tells of it."""
    wanted = (defence, _LATER, _EVERYTHING, 1)
    return [one for one in record["inverted"] if _about(one) == wanted]


def _about(one: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...], int]:
    step = _LATER if one["before"] else _FIRST
    return one["defence"], step, tuple(one["projections"]), one["batch_size"]


def _by_chance(most: float) -> float:
    """Mean exposure of an answer whose rank is drawn at random."""
    return float(most - np.log2(np.arange(1, round(2**most) + 1)).mean())


def _proof(found: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds from the counts of all seeds, and whether they refute what is claimed.

    Thresholds stood fast before any trial, and every seed's trials are its own, so that counts
    may be added up; the bounds stay those of one test at the audit's confidence.
    """
    levels, confidence = thresholds(round(2 ** found[0]["exposure_most"])), plan["confidence"]
    delta, claim = found[0]["delta"], found[0]["check"]
    counts = [_added(column) for column in zip(*(one["counts"] for one in found), strict=True)]
    claimed = claim["epsilon"] if claim else float("nan")
    check = measures.check_counts(counts, levels, claimed, delta, confidence)
    told = {key: sum(one["guesses"][key] for one in found) for key in found[0]["guesses"]}
    trials = (counts[0].positives, counts[0].negatives)
    most = measures.provable(*trials, len(levels), delta, confidence)
    by_guesses = measures.epsilon_of_guesses(
        told["right"], told["made"], told["trials"], delta, confidence
    )
    return {
        "epsilon": check.proven,
        "epsilon_guesses": by_guesses,
        "epsilon_provable": most,
        "claimed": claimed,
        "delta": delta,
        "check": _checked(check.passed, claimed, most) if claim else "",
        "check_tpr": check.tpr.value,
        "check_fpr": check.fpr.value,
        "trials": sum(trials),
    }


def _added(every: Sequence[Mapping[str, int]]) -> Counts:
    return Counts(**{key: sum(one[key] for one in every) for key in every[0]})


def _checked(passed: bool, claimed: float, most: float) -> str:
    if not passed:
        return REFUTED
    return KEPT if claimed < most else BLIND


def _guessing(coins: int) -> float:
    """The AUC that guesses exceed in less than 1 of 1000, of so many fair coins.

    In standard errors of scores that do not depend on the coins: Mann and Whitney's (1947)
    variance (n + 1) / (12 n1 n0), with n1 = n0 = n / 2.
    """
    return 0.5 + _BEYOND * float(np.sqrt((coins + 1) / 3)) / coins


def _verdict(fit: float, told: bool) -> str:
    """What the row shows; a model that learnt nothing has nothing to tell."""
    if told:
        return TELLS
    return NOTHING_LEARNT if fit < HARDLY else TELLS_NOT


def _seeds(records: Sequence[Record]) -> str:
    return " ".join(str(record["seed"]) for record in records)


def _token_row(
    about: tuple[Any, ...], pairs: Sequence[tuple[Record, Mapping[str, Any]]]
) -> dict[str, Any]:
    method, defence, step, projections, batch = about
    found = [one for _, one in pairs]
    return {
        "method": method,
        "defence": defence,
        "step": step,
        "projections": " ".join(name.removesuffix("_proj") for name in projections),
        "batch": batch,
        "tokens": float(np.mean([one["tokens"] for one in found])),
        "span_precision": float(np.mean([one["span"]["precision"] for one in found])),
        "span_recall": float(np.mean([one["span"]["recall"] for one in found])),
        **_spread("recovered", [one["nearest"]["recall"] for one in found]),
        "baseline": float(np.mean([one["baseline"]["recall"] for one in found])),
        "kind": RANGE if len(found) > 1 else "one seed",
        "n_seeds": len(found),
        "seeds": _seeds([record for record, _ in pairs]),
        "synthetic": all(record["synthetic"] for record, _ in pairs),
    }


def say_leakage(frame: pd.DataFrame) -> str:
    """Per method what each defence leaves to be learnt, and what became of claims."""
    return "\n".join(_said(row) for row in frame.to_dict("records")) or f"Leaks: {NOT_RUN}."


def _said(row: Mapping[Any, Any]) -> str:
    if not row["n_seeds"]:
        return f"- **{row['method']}**: {NOT_RUN}."
    attacks = (
        f"members are told from others with an AUC of {row['auc_loss']:.2f} by loss, "
        f"{row['auc_surprise']:.2f} offline and {row['auc_ratio']:.2f} by likelihood ratio; "
        f"epsilon is at least {row['epsilon']:.1f} (by guesses {row['epsilon_guesses']:.1f})"
    )
    claim = f"; claimed {row['claimed']:g}, {row['check']}" if row["check"] else ""
    return (
        f"- **{row['method']}, {row['defence']}**: {row['verdict']}. The site fits its members by "
        f"{100 * row['fit']:.0f} % of what it does undefended; {attacks}{claim}."
    )
