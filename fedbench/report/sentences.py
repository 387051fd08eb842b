"""What the numbers say, in words: results are never typed by hand into a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fedbench.report.cells import POOLED, beside
from fedbench.report.scores import ACCURACY, OWN
from fedbench.report.tables import conclusion

if TYPE_CHECKING:
    import pandas as pd


def say_audit(frame: pd.DataFrame) -> str:
    """How large the tasks are, and what was dropped."""
    said = []
    for row in frame.to_dict("records"):
        kind = "generated look-alike" if row["synthetic"] else "real data"
        sizes = [f"{row[f'n_{split}']:,} {split}" for split in ("train", "validation", "test")]
        dropped = [f"{row[name]:,} {name}" for name in ("duplicates", "conflicts") if row[name]]
        without = f", {' and '.join(dropped)} dropped" if dropped else ""
        said.append(f"{row['task_title']} ({kind}): {', '.join(sizes)} items{without}.")
    return _bullets(said)


def _from_to(sizes: pd.Series[Any]) -> str:
    least, most = int(sizes.min()), int(sizes.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def say_composition(frame: pd.DataFrame) -> str:
    """How uneven each partition is: sizes of sites, and the share of a site's largest topic."""
    said = []
    for (title, partition), part in frame.groupby(["task_title", "partition"], sort=False):
        sizes = part.groupby("site")["examples"].sum()
        largest = part.groupby("site")["examples"].max() / sizes.clip(lower=1)
        idle = part[~part["trained"]]["site"].nunique()
        said.append(
            f"{title}, {partition}: {len(sizes)} sites of {_from_to(sizes)} training examples; the "
            f"largest topic of a site makes {100 * largest.mean():.0f} % of it on average; "
            f"{idle or 'none'} of the sites {'is' if idle < 2 else 'are'} too small to train."
        )
    return _bullets(said)


def say_resources(frame: pd.DataFrame) -> str:
    """What each method trains and sends, relative to the whole backbone."""
    said = []
    for row in frame.to_dict("records"):
        whole, sent, share = row["backbone_parameters"], row["bytes_up"], row["trainable_share"]
        part = f" of {whole:,} ({100 * share:.2f} %)" if share == share else ""
        paid = f"sends {sent / 1000:,.1f} kB per site and round" if sent else "was not federated"
        said.append(
            f"{row['method']} on {row['backbone']} trains {row['trainable_parameters']:,} "
            f"parameters{part} and {paid}."
        )
    return _bullets(said)


def say_main(frame: pd.DataFrame) -> str:
    """What each line of the main table allows to be concluded about accuracy."""
    chosen = frame[(frame["metric"] == ACCURACY) & (frame["labels"] == "true")]
    said = []
    for names, group in chosen.groupby(["task", "backbone", "method"], sort=False):
        for partition in [p for p in group["partition"].unique() if p != POOLED] or [POOLED]:
            rows = group[beside(group, partition)].to_dict("records")
            line = ", ".join([_title(rows), *map(str, names[1:]), partition])
            said.append(f"{line}: {conclusion(rows)}.")
    return _bullets(said)


def _title(rows: list[dict[Any, Any]]) -> str:
    return str(next((row["task_title"] for row in rows if row["n_seeds"]), rows[0]["task_title"]))


def say_contrasts(frame: pd.DataFrame) -> str:
    """Each paired difference in percentage points, and whether it could be told from zero."""
    said = []
    for row in frame.to_dict("records"):
        span = f"[{100 * row['ci_low']:+.1f}, {100 * row['ci_high']:+.1f}]"
        where = " on the sites' own items" if row["metric"] == OWN else ""
        same = row["method"] if row["setting"] == row["contrast"] else row["setting"]
        said.append(
            f"{row['task_title']}, {row['backbone']}, {same}, {row['partition']}: "
            f"{row['contrast']}{where} = {100 * row['mean']:+.1f} points {span}, "
            f"{row['verdict']} (could have shown {100 * row['smallest_difference']:.1f})."
        )
    return _bullets(said) if said else "No two settings were run: nothing can be compared."


def say_convergence(frame: pd.DataFrame) -> str:
    """Where each setting ends on validation data, and what its last round still gained."""
    said = []
    keys = ["task_title", "backbone", "method", "partition", "setting"]
    for names, line in frame.groupby(keys, sort=False):
        values = (100 * line.sort_values("round")["mean"]).tolist()
        gain = f", {values[-1] - values[-2]:+.1f} in the last round" if len(values) > 1 else ""
        name = ", ".join(map(str, names))
        said.append(f"{name}: ends at {values[-1]:.1f} %{gain}.")
    return _bullets(said)


def _bullets(said: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in said)
