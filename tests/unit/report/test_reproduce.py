"""With a stand-in for training: what is done again, where, and what is shown."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from fedbench import grid, report
from fedbench.cli import main
from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.report import reproduce as reproducing
from fedbench.report.reproduce import Reproduced, reproduce
from fedbench.report.writing import numbers


@pytest.fixture(scope="module")
def tables(runs, tmp_path_factory):
    """The tables of a profile whose runs are all there; not to be changed."""
    results, rounds = report.main_results(runs), report.convergence(runs)
    drawn = {
        "main_results": results,
        "contrasts": report.contrasts(runs),
        "convergence_final": rounds[rounds["round"] == rounds["rounds"]],
        "main_table": report.wide(results),
    }
    path = tmp_path_factory.mktemp("tables")
    for name, frame in drawn.items():
        (path / f"{name}.csv").write_bytes(numbers(frame))
    return path


@pytest.fixture
def folder(tables, runs, monkeypatch):
    """These tables, and the profile that they were drawn from."""
    monkeypatch.setattr(grid, "planned", lambda profile: [run.config for run in runs])
    monkeypatch.setattr(grid, "found", lambda profile: runs)
    return tables


@pytest.fixture
def again(runs):
    """Hands out the runs that were there, and notes what was asked for and where it would go."""
    asked = []

    def do(config):
        asked.append((config, os.environ["FEDBENCH_HOME"]))
        return next(run for run in runs if run.id == config.id)

    do.asked = asked
    return do


def row_of(folder, table, **values):
    """The number of the first row of a table with these values, and the row."""
    frame = pd.read_csv(folder / f"{table}.csv")
    for number, row in enumerate(frame.to_dict("records"), start=1):
        if values.items() <= row.items():
            return number, row
    raise AssertionError(values)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("main_results", {"task": "fpb", "setting": "federated", "metric": "macro_f1"}),
        ("main_results", {"task": "fpb", "setting": "base", "metric": "accuracy"}),
        ("main_results", {"setting": "centralized", "metric": "accuracy_own"}),
        ("main_results", {"setting": "base", "metric": "accuracy_worst"}),
        ("contrasts", {"contrast": "federated − local", "partition": "dirichlet-0.3"}),
        ("contrasts", {"contrast": "federated − local", "metric": "accuracy_own"}),
        ("contrasts", {"contrast": "centralized − base"}),
        ("convergence_final", {"setting": "local"}),
    ],
)
def test_the_same_runs_give_the_same_numbers(folder, again, capsys, table, values):
    number, row = row_of(folder, table, **values)
    found = reproduce("cpu", table, number, folder, do=again)

    assert found.within
    assert found.then["mean"] == row["mean"]
    assert found.now == pytest.approx(found.then, abs=1e-5)
    assert " ".join(config.id for config, _ in again.asked) == row["runs"]


def test_runs_go_to_a_home_of_their_own(folder, again, capsys):
    before = os.environ["FEDBENCH_HOME"]
    reproduce("cpu", "main_results", 1, folder, do=again)

    homes = {home for _, home in again.asked}
    assert len(homes) == 1
    assert before not in homes
    assert os.environ["FEDBENCH_HOME"] == before
    assert not os.path.exists(homes.pop())


def test_another_result_is_shown_beside_the_old_one(folder, again, save, capsys):
    number, row = row_of(folder, "main_results", task="fpb", setting="federated", partition="iid")
    found = reproduce("cpu", "main_results", number, folder, do=lambda c: save(c, skill=0.2))

    assert not found.within
    assert f"mean     {row['mean']:10.6f} {found.now['mean']:10.6f}" in str(found)
    assert "task fpb, backbone fedbench-llama, method lora, setting federated" in str(found)


@pytest.mark.parametrize(
    ("table", "number", "clause"),
    [
        ("main_results", 0, "0 is none of them"),
        ("main_results", 10_000, "10000 is none of them"),
        ("main_table", 1, "not computed from single runs"),
        ("contrasts_of_others", 1, "does not exist"),
    ],
)
def test_a_row_that_is_not_there_is_one_sentence(folder, again, table, number, clause):
    with pytest.raises(FedbenchError, match=clause):
        reproduce("cpu", table, number, folder, do=again)


def test_a_row_whose_partition_names_its_sites_is_found_among_its_own_runs(
    save, config, tmp_path, monkeypatch
):
    sizes = [PartitionConfig(kind="iid", sites=sites) for sites in (2, 4)]
    runs = {run.id: run for run in (save(config("federated", partition=one)) for one in sizes)}
    (tmp_path / "main_results.csv").write_bytes(numbers(report.main_results(runs.values())))
    monkeypatch.setattr(grid, "planned", lambda profile: [run.config for run in runs.values()])
    number, _ = row_of(tmp_path, "main_results", partition="iid, 4 sites")

    assert reproduce("own", "main_results", number, tmp_path, do=lambda c: runs[c.id]).within


def test_a_table_drawn_from_another_grid_is_one_sentence(folder, again, monkeypatch):
    monkeypatch.setattr(grid, "planned", lambda profile: [])

    with pytest.raises(FedbenchError, match="does not plan 1 of the 1 runs of this row"):
        reproduce("cpu", "main_results", 1, folder, do=again)


def test_a_row_that_was_not_run_is_one_sentence(folder, again, tmp_path):
    frame = pd.read_csv(folder / "main_results.csv").assign(runs="")
    frame.to_csv(tmp_path / "main_results.csv", index=False)

    with pytest.raises(FedbenchError, match="says that nothing was run"):
        reproduce("cpu", "main_results", 1, tmp_path, do=again)


@pytest.mark.parametrize(("now", "status"), [(0.51, 0), (0.53, 1)])
def test_the_command_ends_with_0_only_within_the_tolerance(monkeypatch, capsys, now, status):
    found = Reproduced("fpb", {"mean": 0.5}, {"mean": now})
    monkeypatch.setattr(reproducing, "reproduce", lambda *arguments: found)

    assert main(["reproduce", "main_results", "3"]) == status
    assert "0.500000" in capsys.readouterr().out


def test_a_row_is_named_by_words_that_only_it_has(folder):
    path = reproducing.path_of("main_results", folder)
    words = ["fpb", "federated", "dirichlet-0.3", "accuracy"]
    number = reproducing.row_number(path, words)
    row = pd.read_csv(path).iloc[number - 1]
    assert [row[key] for key in ("task", "setting", "partition", "metric")] == words
    assert reproducing.row_number(path, ["7"]) == 7


@pytest.mark.parametrize(("words", "count"), [(["fpb", "accuracy"], r"\d+"), (["fbp"], "0")])
def test_words_that_no_row_or_several_have_are_one_sentence(folder, words, count):
    with pytest.raises(FedbenchError, match=rf"{count} rows of .* have the words {words[0]}"):
        reproducing.row_number(reproducing.path_of("main_results.csv", folder), words)
