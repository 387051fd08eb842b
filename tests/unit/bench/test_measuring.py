"""The whole benchmark at a microscopic size: it measures, records and draws."""

from __future__ import annotations

import json

from fedbench.bench import figure, showing
from fedbench.bench.__main__ import main
from fedbench.bench.records import recorded, version
from fedbench.bench.table import rows
from fedbench.provenance import fingerprint


def test_everything_of_the_plan_is_in_the_record_which_is_plain_json(record, plan):
    assert json.loads(json.dumps(record)) == record
    assert [one["shape"] for one in record["steps"]] == [timed.shape.name for timed in plan.steps]
    assert all(len(each) == 1 for one in record["steps"] for each in one["seconds"].values())
    assert record["rounds"][0]["training_seconds"][0] < record["rounds"][0]["seconds"]["ours"][0]
    assert record["start_up"].keys() == {"help"}
    assert record["provenance"]["code"] == fingerprint("fedbench.running")


def test_bytes_on_the_wire_are_the_adapter_and_little_more(record):
    (one,) = record["rounds"]
    least = 4 * one["adapter_values"] * one["cohort"]
    for way in ("bytes_down", "bytes_up"):
        assert least < one[way] < least + 10_000 * one["cohort"]


def test_every_quantity_that_can_be_computed_is_a_row(record):
    found = {row.quantity for row in rows(record)}
    assert {"step / plain loop", "round / its own steps", "round / Trainer"} <= found


def test_a_record_that_is_kept_is_a_row_of_the_figure_beside_the_earlier_ones(
    record, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = {**record, "date": "2001-01-01T00:00:00Z"}
    showing.finish(before, keep=True)
    said = showing.finish(record, keep=True)
    assert "| step / plain loop |" in said
    assert [version(each) for each in recorded()] == [version(before), version(record)]
    page = (tmp_path / "figures/bench/benchmark.csv").read_text(encoding="utf-8")
    assert page.count(version(before)) == page.count(version(record)) > 10
    for kind in ("png", "pdf", "md", "json"):
        assert (tmp_path / f"figures/bench/benchmark.{kind}").stat().st_size > 100


def test_a_record_that_is_not_kept_stays_in_the_home(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = showing.finish(record, keep=False)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "figures").exists()
    assert f"{version(record)}.json" in said


def test_a_panel_says_why_a_value_is_not_there(record):
    absent = {"who": "Flower", "size": "2M", "shape": "one-word answers", "rounds": 10}
    with_absent = {**record, "alone": [absent | {"missing": "not installed"}]}
    drawn = figure.draw(figure.over_versions([with_absent]))
    said = {text.get_text() for ax in drawn.axes for text in ax.texts}
    assert "not installed" in said


def test_drawing_without_a_recorded_version_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw"]) == 2
    assert "No version is recorded" in capsys.readouterr().err


def test_a_process_for_an_unknown_contender_is_refused(tmp_path, capsys):
    assert main(["alone", str(tmp_path), "nobody", "one-word answers", "1", "2", "1", "1"]) == 2
    assert "Nobody is called 'nobody'" in capsys.readouterr().err
