"""Published values: each with a source, and beside ours only where the work is the same."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from fedbench.report import peers
from fedbench.report.peer_figure import peers_caption, peers_figure
from fedbench.report.peers import Published, differences, published

SAME = {
    "system": "theirs",
    "source": "a paper",
    "task": "fpb",
    "backbone": "fedbench-llama",
    "method": "lora",
    "setting": "federated",
    "split": "given",
    "metric": "accuracy",
    "value": 0.5,
}


def cell(hostile=0.0, **other):
    config = {k: SAME[k] for k in ("task", "backbone", "method", "setting")} | other
    run = SimpleNamespace(metrics={"split": "given", "accuracy": 0.6}, id="abc")
    honest = {
        "hostile": hostile,
        "faults": "none",
        "privacy": None,
        "partition": SimpleNamespace(without=None),
    }
    return SimpleNamespace(config=SimpleNamespace(**config, **honest), runs=[run])


def test_every_published_value_has_a_source_and_is_a_share():
    assert published()
    for one in published():
        assert re.search(r"arXiv:\d{4}\.\d{5}|github\.com/", one.source)
        assert 0 < one.value < 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("backbone", "GPT-4"), ("method", "qlora"), ("setting", "base"), ("split", "its own")],
)
def test_what_differs_is_named(field, value):
    one = Published(**SAME | {field: value})
    assert differences(one, cell()) == [field]
    assert peers._ours(one, [cell()]) == f"not the same work: another {field}"


def test_the_same_work_stands_beside_ours():
    assert differences(Published(**SAME), cell()) == []
    assert peers._ours(Published(**SAME), [cell()]) == "60.0"


def test_a_pinned_backbone_is_the_backbone():
    assert differences(Published(**SAME), cell(backbone="fedbench-llama@abc")) == []


def test_an_untuned_backbone_has_no_method():
    one = Published(**SAME | {"setting": "base", "method": "none"})
    assert differences(one, cell(setting="base")) == []


def test_tasks_that_we_did_not_run_are_left_out(monkeypatch):
    monkeypatch.setattr(peers, "cells", lambda runs: [cell(task="medqa")])
    assert peers.beside_others([]).empty


def test_nothing_published_stands_beside_a_run_that_was_attacked(monkeypatch):
    monkeypatch.setattr(peers, "published", lambda: [Published(**SAME)])
    monkeypatch.setattr(peers, "cells", lambda runs: [cell(hostile=0.2)])
    assert peers.beside_others([]).empty
    monkeypatch.setattr(peers, "cells", lambda runs: [cell()])
    assert len(peers.beside_others([])) == 1


def beside(monkeypatch, *values):
    monkeypatch.setattr(peers, "cells", lambda runs: [cell()])
    monkeypatch.setattr(peers, "published", lambda: [Published(**SAME | one) for one in values])
    return peers.beside_others([])


def test_ours_is_drawn_beside_the_same_work_and_its_absence_is_explained(monkeypatch):
    frame = beside(monkeypatch, {}, {"backbone": "GPT-4", "value": 0.4455})
    assert frame["published"].tolist() == ["50", "44.55"]
    assert frame["runs"].tolist() == ["abc", ""]
    (ax,) = peers_figure(frame).axes
    points = [(line.get_xdata()[0], line.get_markerfacecolor()) for line in ax.lines]
    assert [x for x, _ in points] == [50.0, 60.0, 44.55]
    assert [color == "white" for _, color in points] == [True, False, True]
    assert [text.get_text() for text in ax.texts] == ["ours: another backbone"]
    assert "Ours stands beside 1 of 2" in peers_caption(frame)


def test_where_nobody_published_anything_the_caption_and_the_figure_say_so(monkeypatch):
    frame = beside(monkeypatch)
    words = "none on the tasks that were run here"
    assert words in peers_caption(frame)
    assert [text.get_text() for text in peers_figure(frame).axes[0].texts] == [words]
