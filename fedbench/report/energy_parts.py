"""What the headline of energy is made of, and what it would come to for a whole grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.phases import PHASES
from fedbench.report import stats
from fedbench.report.energy import (
    COLUMNS,
    ESTIMATED,
    Measurement,
    about,
    digits,
    groups_of,
    is_estimated,
    joules_of,
    obtained_by,
    per_token,
    summary,
)
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd


def component_table(record: Mapping[str, Any] | None) -> pd.DataFrame:
    """One row per method, setting, component and phase: joules of a run, and how they are known.

    This is what every other number of energy is made of; memory by constant is a row like others
    here and in no headline.
    """
    import pandas as pd

    rows = []
    for same in groups_of(record["measurements"]) if record else []:
        for part, how in sorted(same[0]["how"].items()):
            for name in PHASES:
                values = np.array([joules_of(one, [name], [part]) for one in same])
                told = {"quantity": f"{part}, {name}", "unit": "J", "obtained": how}
                rows.append(about(same[0]) | told | summary(values))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def extrapolated(record: Mapping[str, Any] | None, runs: Sequence[Run]) -> str:
    """What all training of ``runs`` would take, by method: joules per token times tokens.

    Tokens are priced at what their setting was measured to take, for the backbone that was
    measured and no other; of tasks other than the measured one that is a guess.
    """
    if record is None:
        return "Nothing was measured that could be extrapolated."
    groups = groups_of(record["measurements"])
    return "\n".join(
        _extrapolation([same for same in groups if same[0]["method"] == method], runs)
        for method in dict.fromkeys(same[0]["method"] for same in groups)
    )


def _extrapolation(groups: Sequence[Sequence[Measurement]], runs: Sequence[Run]) -> str:
    """A line about one method; ``groups`` are its measured settings."""
    first = groups[0][0]
    same_as = {name: first["config"][name] for name in ("backbone", "method", "compute")}
    mine = [r for r in runs if all(getattr(r.config, n) == value for n, value in same_as.items())]
    repeats = min(len(same) for same in groups)
    joules, tokens = np.zeros(repeats), 0
    for same in groups:
        setting = same[0]["config"]["setting"]
        count = sum(int(r.metrics["tokens"]) for r in mine if r.config.setting == setting)
        joules += count * np.array([per_token(one) for one in same[:repeats]])
        tokens += count
    guessed = is_estimated(obtained_by("training", "mJ per token", first))
    return (
        f"- {first['method']} on {same_as['backbone']}: {tokens:,} training tokens in all runs of "
        f"this profile, about {_interval(joules / 1000)} kJ (extrapolated: joules per token × "
        f"tokens{', from ' + ESTIMATED + ' power' if guessed else ''})."
    )


def _interval(values: stats.Array) -> str:
    """Mean over repeats with its interval, if there is more than one."""
    mean = digits(float(values.mean()))
    if len(values) < 2:
        return f"{mean} (one repeat)"
    found = stats.seed_interval(values)
    return f"{mean} [{digits(found.low)}, {digits(found.high)}], n = {len(values)} repeats,"
