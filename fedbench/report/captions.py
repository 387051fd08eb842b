"""What each figure shows, how sure it is and of how many, in words made from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.report.cells import POOLED
from fedbench.report.scores import ACCURACY, OWN, WORST
from fedbench.report.tables import MARKS, NOT_RUN

if TYPE_CHECKING:
    import pandas as pd

#: what a single score's interval can tell; two settings are paired, which tells more
_DISTANCE = "a distance from a fixed value, such as chance,"
_METRICS = {
    ACCURACY: "Test accuracy in %",
    OWN: "Accuracy on the sites' own test items in %, mean over sites",
    WORST: "Accuracy on the sites' own test items in %, the worst site. The least of several noisy "
    "scores is biased downward: some site comes out low by chance alone. Its n test is that of "
    "this site",
}
_MARKS = {
    "chance": MARKS["chance"],
    "the training majority": MARKS["majority"],
    "a scorer that never saw the question": MARKS["blind"],
}


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
        f"majority answer of training.{_visible(done, _DISTANCE)}"
    )


def scores_caption(frame: pd.DataFrame, metric: str = ACCURACY) -> str:
    """Of the wide table of ``metric`` (:func:`~fedbench.report.tables.wide`), from all scores."""
    shown = frame[(frame["metric"] == metric) & (frame["labels"] == "true")]
    words = _METRICS[metric]
    if metric == ACCURACY:
        words += f"; not shown to be above {', '.join(f'{m} {n}' for n, m in _MARKS.items())}"
    return f"{words}. {_sure(shown)}"


def results_caption(frame: pd.DataFrame) -> str:
    """Of the table of every score."""
    return (
        f"Every score in %, with Holm-adjusted one-sided p-values of accuracy above chance, the "
        f"training majority, and a scorer that never saw the question. {_sure(frame)}"
    )


def contrasts_caption(frame: pd.DataFrame) -> str:
    """Of the table of differences (:func:`~fedbench.report.differences.contrasts`)."""
    return (
        "Differences of two settings, methods or backbones in percentage points, paired over "
        f"seeds and items. {_sure(frame, 'a difference')} McNemar's p-value is two-sided, "
        "unadjusted, within one seed, and stands only where no two items share a sentence or fact."
    )


def _sure(frame: pd.DataFrame, what: str = _DISTANCE) -> str:
    """Over how many seeds and items, with which interval, and what would have been seen."""
    done = frame[frame["n_seeds"] > 0]
    if done.empty:
        return f"All of it: {NOT_RUN}."
    return (
        f"Mean over {_span(done['n_seeds'], 'seed')} [95 % interval: {_kinds(done)}], "
        f"{_span(done['n_test'], 'test item')}.{_visible(done, what)}"
    )


def _visible(done: pd.DataFrame, what: str) -> str:
    """The smallest ``what`` that could have been seen, from the least row to the greatest."""
    known = 100 * done["smallest_difference"].dropna()
    finite = known[known < float("inf")]
    if finite.empty:
        return ""
    least, most = f"{finite.min():.1f}", f"{finite.max():.1f}"
    span = least if least == most else f"{least} to {most}"
    blind = len(known) - len(finite)
    rest = f"; in {blind} rows none could" if blind else ""
    return f" With a power of 80 %, {what} of {span} points would have been seen{rest}."


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
        f"{_span(frame['n_seeds'], 'seed')}, band from the least to the greatest, a dot "
        f"for each; the interval in the CSV: {_kinds(frame)}. Each setting is scored on data "
        "it would really have, together "
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
