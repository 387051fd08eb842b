"""What each figure shows, how sure it is and of how many, in words made from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.report.cells import POOLED
from fedbench.report.scores import ACCURACY
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd


def main_caption(frame: pd.DataFrame) -> str:
    """Of :func:`~fedbench.report.score_figure.main_figure`."""
    shown = frame[(frame["metric"] == ACCURACY) & (frame["labels"] == "true")]
    done = shown[shown["n_seeds"] > 0]
    if done.empty:
        return f"Test accuracy: {NOT_RUN}."
    return (
        f"Test accuracy, mean over {_span(done['n_seeds'], 'seed')}, with 95 % interval "
        f"({_kinds(done)}), on {_span(done['n_test'], 'test item')}; small hollow points: single "
        "seeds. Base and centralized know no sites, so they are drawn once per backbone and "
        "method; local and federated once per partition. Dashed: guessing; dotted: always the "
        "majority answer of training."
    )


def composition_caption(frame: pd.DataFrame) -> str:
    """Of :func:`~fedbench.report.figures.composition_figure`."""
    if frame.empty:
        return f"Who holds what: {NOT_RUN}."
    seeds = " or ".join(str(seed) for seed in sorted(frame["seed"].unique()))
    sites = frame.drop_duplicates(["task", "partition", "site"])
    count = sites.groupby(["task", "partition"])["site"].count()
    return (
        f"Who holds what, as dealt with seed {seeds}: a row is one of {_span(count, 'site')}, by "
        f"its number, with n = its training examples ({_span(sites['n_train'], 'example')}); * "
        "marks a site too small to train. A column is a topic, its colour the topic's share of "
        "the site's training examples. Counts, without uncertainty."
    )


def convergence_caption(frame: pd.DataFrame) -> str:
    """Of :func:`~fedbench.report.figures.convergence_figure`."""
    if frame.empty:
        return f"Validation accuracy: {NOT_RUN}."
    partitions = [name for name in frame["partition"].unique() if name != POOLED]
    return (
        f"Validation accuracy after each of {_span(frame['rounds'], 'round')}"
        f"{', by partition: ' if partitions else ''}{', '.join(partitions)}. Mean over "
        f"{_span(frame['n_seeds'], 'seed')}, band from the least to the greatest; the interval in "
        f"the CSV: {_kinds(frame)}. Each setting is scored on data it would really have, together "
        f"{_span(frame['n_validation'], 'validation example')}: a local model on its own site's "
        "(mean over sites), the others on everybody's. Curves of local training therefore do not "
        "compare in height with the others where sites differ; the test accuracies of the main "
        "figure do."
    )


def resources_caption(frame: pd.DataFrame) -> str:
    """Of :func:`~fedbench.report.figures.resources_figure`."""
    if frame.empty:
        return f"Sizes of methods: {NOT_RUN}."
    return (
        f"Trained parameters, and bytes that one site sends in one round, of "
        f"{_span([len(frame)], 'pair')} of backbone and method. Counted, without uncertainty."
    )


def _kinds(frame: pd.DataFrame) -> str:
    return " or ".join(sorted(str(kind) for kind in frame["ci_kind"].unique()))


def _span(counts: pd.Series | list[int], word: str) -> str:
    """``3 seeds``, or from the least to the greatest: ``1 to 3 seeds``."""
    least, most = int(min(counts)), int(max(counts))
    numbers = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{numbers} {word}{'' if most == 1 else 's'}"
