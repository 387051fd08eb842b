"""The main figure: what is drawn once, and what goes on another page."""

from __future__ import annotations

import pandas as pd
import pytest

from fedbench import report
from fedbench.config import SETTINGS, PartitionConfig
from fedbench.report import style
from fedbench.report.score_figure import NAME

PARTITIONS = (
    PartitionConfig(kind="iid", sites=8),
    PartitionConfig(kind="dirichlet", alpha=0.3, sites=8),
)


def planned(config, tasks, backbones, methods=("lora", "qlora", "ia3")):
    return [
        config(setting, task=task, backbone=backbone, method=method, partition=partition)
        for task in tasks
        for backbone in backbones
        for method in methods
        for partition in PARTITIONS
        for setting in SETTINGS
    ]


def marks(ax, setting):
    return [line for line in ax.lines if line.get_marker() == style.LOOKS[setting].marker]


def test_what_knows_no_sites_is_drawn_once_and_the_rest_once_per_partition(runs):
    base = [run for run in runs if run.config.seed == 0]  # one seed, so no small points
    figure = report.main_figure(report.main_results(base))

    for ax in figure.axes:
        assert [len(marks(ax, setting)) for setting in SETTINGS] == [1, 2, 2, 1]


def test_a_figure_that_fits_a_page_is_one(runs):
    frame = report.main_results(runs)

    assert list(report.main_parts(frame)) == [NAME]
    assert report.main_parts(frame)[NAME].equals(frame)


@pytest.mark.parametrize(
    ("tasks", "backbones", "pages"),
    [
        (["medqa", "medmcqa", "fpb", "fiqa_sa"], ["a", "b", "c"], 4),
        (["fpb"], [f"backbone-{number:02d}" for number in range(20)], 5),
    ],
)
def test_no_page_is_too_high_and_nothing_is_lost_between_them(config, tasks, backbones, pages):
    frame = report.main_results([], planned(config, tasks, backbones))
    parts = report.main_parts(frame)

    assert list(parts) == [NAME, *(f"{NAME}_{number}" for number in range(2, pages + 1))]
    assert pd.concat(parts.values()).equals(frame)
    for part in parts.values():
        assert report.main_figure(part).get_figheight() < style.TALLEST


def test_a_task_that_fits_a_page_is_not_divided(config):
    frame = report.main_results([], planned(config, ["a", "b", "c", "d", "e"], ["x"]))

    found = [set(part["task"]) for part in report.main_parts(frame).values()]
    assert len(found) == 2
    assert not found[0] & found[1]


def test_a_score_that_nothing_has_is_a_figure_that_says_so(config):
    frame = report.main_results([], planned(config, ["fpb"], ["x"]))
    figure = report.main_figure(frame, "macro_f1")

    assert list(report.main_parts(frame, "macro_f1")) == [NAME]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["not run"]
