from __future__ import annotations

import subprocess

import pytest

from fedbench.cli import main
from fedbench.errors import FedbenchError
from fedbench.report import compare as comparing
from fedbench.report.compare import (
    Difference,
    alike,
    compare,
    moved,
    of_commit,
    of_folder,
    show,
)

TABLE = "task,metric,mean,ci_low,n_test,bytes_up,p_chance,verdict,ci_kind,runs\n"
ROW = "fpb,accuracy,0.7,0.6,120,1.1776e+06,0.001,above chance,t over seeds,aa bb\n"


@pytest.mark.parametrize(
    ("column", "reference", "here", "same"),
    [
        ("mean", "0.70", "0.72", True),
        ("mean", "0.70", "0.721", False),
        ("ci_low", "-0.01", "0.01", True),
        ("ci_high", "0.5", "", False),
        ("smallest_difference", "0.10", "0.14", True),
        ("smallest_difference", "0.10", "0.15", False),
        ("n_test", "120", "121", False),
        ("backbone_bytes", "12001536", "12001537", False),
        ("bytes_up", "1.1776e+06", "1177600", True),
        ("bytes_up", "1.1776e+06", "1.1777e+06", False),
        ("passes", "6", "6.0", True),
        ("p_chance", "0.001", "0.049", True),
        ("p_chance", "0.049", "0.051", False),
        ("verdict", "federated higher", "no difference shown", False),
        ("ci_kind", "t over seeds", "item clusters", True),
        ("runs", "0123456789abcdef", "fedcba9876543210", True),
        ("federated", "85.8 [81.4, 90.3]", "86.9 [80.1, 91.0]", True),
        ("federated", "85.8 [81.4, 90.3]", "89.0 [81.4, 90.3]", True),
        ("federated", "85.8 [81.4, 90.3]", "90.4 [81.4, 90.3]", False),
        ("federated", "85.8 [81.4, 90.3]", "85.8 [81.4, 90.3]†", False),
        ("federated", "85.8 [81.4, 90.3]", "not run", False),
        ("federated", "0.10", "0.90", False),
        ("federated", "0.80", "0.82", True),
        ("federated_low", "0.80", "0.83", False),
        ("gain", "0.01", "-0.01", True),
        ("gain", "0.01", "-0.02", False),
        ("gain_over_local_high", "0.10", "0.12", True),
        ("gain_per_seed", "0.1 0.2 0.3", "0.2 0.1 0.3", True),
        ("gain_kind", "t over seeds", "item clusters", True),
        ("contribution", "0.02", "0.05", False),
        ("sd", "0.05", "0.06", True),
        ("range", "0.30", "0.33", False),
        ("fall", "-0.01", "0", True),
        ("right", "0.9", "0.88", True),
        ("wrong", "0.9", "0.87", False),
        ("p", "0.001", "0.049", True),
        ("p", "0.04", "0.06", False),
        ("label_divergence", "0.30", "0.31", False),
    ],
)
def test_scores_may_move_a_little_and_counts_may_not(column, reference, here, same):
    assert alike(column, reference, here) == same


@pytest.mark.parametrize(
    ("column", "reference", "here", "same"),
    [
        ("mean", "0.70", "0.74", True),
        ("mean", "0.70", "0.76", False),
        ("ci_low", "0.65", "0.56", True),
        ("ci_low", "0.65", "0.54", False),
        ("smallest_difference", "0.10", "0.29", True),
        ("smallest_difference", "0.10", "0.31", False),
        ("n_test", "120", "121", False),
    ],
)
def test_a_score_may_move_as_far_as_its_own_interval_says(column, reference, here, same):
    assert alike(column, reference, here, width=0.1) == same


@pytest.mark.parametrize(
    ("here", "same"), [("0.14,0.02,0.22,0.5,0.5,0.5", True), ("0.1,0,0.2,0.54,0.5,0.5", False)]
)
def test_each_score_of_a_row_moves_within_its_own_interval(here, same):
    """A gain has a wide interval here, and the score beside it one without any width."""
    row = "gain,gain_low,gain_high,mean,ci_low,ci_high\n{}\n"
    reference = row.format("0.1,0,0.2,0.5,0.5,0.5")
    assert (compare({"a": reference}, {"a": row.format(here)}) == []) == same


def test_two_items_of_few_may_always_be_answered_otherwise():
    row = "mean,ci_low,ci_high,n_validation\n{},1,1,48\n"
    assert compare({"a": row.format("1")}, {"a": row.format("0.96")}) == []
    assert compare({"a": row.format("1")}, {"a": row.format("0.95")}) != []


def test_another_site_may_be_the_worst_one_and_has_another_number_of_items():
    row = ROW.replace("accuracy", "accuracy_worst")
    assert compare({"a": TABLE + row}, {"a": TABLE + row.replace("120", "131")}) == []


def test_tables_that_moved_within_tolerance_are_counted():
    here = {"a": TABLE + ROW.replace("0.7,", "0.71,"), "b": TABLE, "energy": "x\n1\n"}
    reference = {"a": TABLE + ROW, "b": TABLE, "energy": "x\n2\n"}
    assert compare(reference, here) == []
    assert moved(reference, here) == 1


def test_a_difference_is_told_with_its_row_and_both_values():
    moved = ROW.replace("0.7,", "0.8,").replace("120", "119")
    found = compare({"main": TABLE + ROW + ROW}, {"main": TABLE + ROW + moved})

    assert found == [
        Difference("main", 2, "mean", "0.7", "0.8"),
        Difference("main", 2, "n_test", "120", "119"),
    ]
    assert show(found).splitlines()[1].split() == ["main", "2", "mean", "0.7", "0.8"]


def test_rows_columns_and_tables_that_came_or_went_are_told():
    assert compare({"a": TABLE + ROW}, {"a": TABLE}) == [
        Difference("a", 1, "", "present", "absent")
    ]
    assert compare({"a": "x\n1\n"}, {"a": "x,y\n1,2\n"}) == [Difference("a", 1, "y", "absent", "2")]
    assert compare({"a": TABLE}, {"b": TABLE}) == [
        Difference("a", 0, "", "present", "absent"),
        Difference("b", 0, "", "absent", "present"),
    ]


def test_tables_of_energy_measure_a_machine_and_are_not_compared():
    measured = "quantity,unit,mean\nwhole run,s,9.0\n"
    reference = {"a": TABLE + ROW, "energy": measured, "energy_figure": measured}

    assert compare(reference, {"a": TABLE + ROW, "energy": measured.replace("9.0", "12.5")}) == []


def test_a_folder_is_the_same_as_itself(tmp_path):
    (tmp_path / "a.csv").write_text(TABLE + ROW)
    (tmp_path / "a.json").write_text("[]")

    assert compare(of_folder(tmp_path), of_folder(tmp_path)) == []


def test_a_folder_without_tables_is_one_sentence(tmp_path):
    with pytest.raises(FedbenchError, match="holds no CSV: draw its tables with make figures"):
        of_folder(tmp_path)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one committed table."""
    folder = tmp_path / "figures" / "tiny"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(TABLE + ROW)
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "One table"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(comparing, "CHECKOUT", tmp_path)
    monkeypatch.setattr("fedbench.report.site.executed", lambda sources, profile: [])
    monkeypatch.chdir(tmp_path)
    return folder


def test_tables_that_nobody_drew_here_are_not_compared_with_themselves(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    assert main(["compare", "--profile", "tiny"]) == 2
    assert "run make figures PROFILE=tiny first" in capsys.readouterr().err


def test_the_reference_is_what_the_last_commit_holds(repository, capsys):
    assert main(["compare", "--profile", "tiny"]) == 0
    assert "The 1 tables of figures/tiny are the reference's." in capsys.readouterr().out

    (repository / "a.csv").write_text(TABLE + ROW.replace("120", "121"))
    assert main(["compare", "--profile", "tiny"]) == 1
    assert "n_test" in capsys.readouterr().out


def test_it_is_said_that_tables_of_energy_are_left_out(repository, capsys):
    assert main(["compare", "--profile", "tiny"]) == 0
    assert "energy" not in capsys.readouterr().out

    (repository / "energy.csv").write_text("quantity,unit,mean\nwhole run,s,9.0\n")
    assert main(["compare", "--profile", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "The 1 tables of figures/tiny are the reference's." in said
    assert "Not compared: tables of energy. They measure a machine" in said


def test_another_folder_can_be_the_reference(repository, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.csv").write_text(TABLE + ROW.replace("0.7,", "0.9,"))

    assert main(["compare", "--profile", "tiny", "--reference", str(other)]) == 1
    assert main(["compare", "--output", str(other), "--reference", str(other)]) == 0
    capsys.readouterr()


def test_a_profile_whose_tables_are_not_in_the_repository_is_one_sentence(repository):
    with pytest.raises(FedbenchError, match="HEAD holds no CSV in figures/cpu"):
        of_commit("figures/cpu")


def test_a_commit_that_does_not_exist_is_one_sentence(repository):
    with pytest.raises(FedbenchError, match="needs a checkout of the repository"):
        of_commit("figures/tiny", "no-such-commit")
