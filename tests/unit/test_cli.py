"""The command line: fields as options, and one sentence for whatever a user can mend."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedbench import cli, commands, store
from fedbench.cli import main
from fedbench.config import PartitionConfig, RunConfig, parse_config
from fedbench.deployment import extra
from fedbench.energy import suite
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.locks import is_held
from fedbench.options import fields_from, meanings, told
from fedbench.rules import RULES


def test_every_option_is_a_field_and_values_are_typed():
    assert fields_from(["--task", "fpb", "--batch-size", "8", "--train-limit=20"]) == {
        "task": "fpb",
        "batch_size": 8,
        "train_limit": 20,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("5E-5", 5e-5),
        ("1e3", 1000.0),
        ("0.1", 0.1),
        ("null", None),
        ("fedbench-llama", "fedbench-llama"),
        ("lookalike_medqa:letter", "lookalike_medqa:letter"),
        ("-1", -1),
        ("@odd", "@odd"),
        ("[odd", "[odd"),
        ("2026-99-99", "2026-99-99"),
    ],
)
def test_a_value_is_read_as_people_mean_it(text, value):
    found = fields_from(["--value", text])["value"]
    assert found == value
    assert type(found) is type(value)


def test_a_value_may_hold_an_equals_sign():
    assert fields_from(["--task", "a=1/toy.yml"]) == {"task": "a=1/toy.yml"}
    assert fields_from(["--task=a=1/toy.yml"]) == {"task": "a=1/toy.yml"}


def test_the_word_true_is_a_kind_of_labels():
    assert parse_config(fields_from(["--task", "fpb", "--labels", "true"])).labels == "true"


@pytest.mark.parametrize("order", [1, -1])
def test_options_win_over_a_file_part_by_part_in_any_order(tmp_path, order):
    path = tmp_path / "run.yml"
    path.write_text("task: fpb\nseed: 1\npartition: {kind: dirichlet, alpha: 0.3, sites: 8}\n")
    pairs = [["--config", str(path)], ["--partition.sites", "4"], ["--seed", "2"]][::order]
    assert fields_from([word for pair in pairs for word in pair]) == {
        "task": "fpb",
        "seed": 2,
        "partition": {"kind": "dirichlet", "alpha": 0.3, "sites": 4},
    }


@pytest.mark.parametrize(
    "words",
    [
        ["--task"],
        ["task", "fpb"],
        ["--task", "fpb", "seed"],
        ["--partition", "iid", "--partition.sites", "4"],
        ["--config", "/no/such/file.yml"],
    ],
)
def test_options_that_make_no_sense_are_refused(words):
    with pytest.raises(FedbenchError):
        fields_from(words)


@pytest.mark.parametrize("content", ["- a list", "task: [open", "\x00"])
def test_a_configuration_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "run.yml"
    path.write_text(content)
    with pytest.raises(FedbenchError, match=str(path)):
        fields_from(["--config", str(path)])


def one_line(capsys):
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("fedbench: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_misspelt_option_ends_with_2_and_a_suggestion(capsys):
    assert main(["run", "--task", "lookalike_fpb", "--learnig-rate", "5e-5"]) == 2
    assert "did you mean learning_rate?" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "clause"),
    [
        (["run"], "task is missing"),
        (["run", "--task", "fpb", "--seed", "x"], "seed = 'x'"),
        (["run", "--task", "no_such_task"], "no_such_task"),
        (["show", "0123456789abcdef"], "0123456789abcdef"),
        (["export", "0123456789abcdef", "folder"], "0123456789abcdef"),
        (["grid", "--profile", "no_such_profile"], "no_such_profile"),
        (["record", "--profile", "no_such_profile"], "no_such_profile"),
        (["tune", "--profile", "tiny"], "nothing to tune"),
        (["energy", "--profile", "tiny"], "no energy suite"),
        (["audit", "no_such_task"], "no_such_task"),
        (["status", "--profile", "no_such_profile"], "no_such_profile"),
        (["plan", "--profile", "no_such_profile"], "no_such_profile"),
        (["report", "--profile", "no_such_profile"], "no_such_profile"),
        (["verify", "--profile", "no_such_profile"], "no_such_profile"),
        (["compare", "--profile", "no_such_profile"], "There is no profile 'no_such_profile'"),
        (["reproduce", "contrasts", "1", "--profile", "no_such_profile"], "does not exist"),
    ],
)
def test_what_a_user_can_mend_ends_with_2_and_one_sentence(words, clause, capsys):
    assert main(words) == 2
    assert clause in one_line(capsys)


@pytest.mark.parametrize("words", [["no-such-command"], [], ["list", "--task", "fpb"]])
def test_a_command_that_is_not_understood_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    capsys.readouterr()


def test_the_list_of_a_new_home_is_empty(monkeypatch, capsys):
    monkeypatch.setattr(store, "recorded_folders", list)
    assert main(["list"]) == 0
    assert capsys.readouterr().out == ""


def test_an_own_profile_is_recorded_under_its_short_name_with_its_energy(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(commands, "CHECKOUT", tmp_path)
    monkeypatch.setattr(suite, "CHECKOUT", tmp_path)
    monkeypatch.setattr("fedbench.grid.planned", lambda profile: [])
    folder, calls = tmp_path / "data" / "recorded" / "mine", []

    def record(runs, directory):
        assert is_held(tmp_path / "data" / ".lock")
        calls.append((directory, (directory / "energy.json").exists()))

    monkeypatch.setattr(commands.store, "record", record)
    assert main(["record", "--profile", "own/mine.yml"]) == 0
    write_json(suite.where("own/mine.yml"), {"measurements": [1]})
    assert main(["record", "--profile", "own/mine.yml"]) == 0
    assert calls == [(folder, False), (folder, True)]
    assert read_json(folder / "energy.json") == {"measurements": [1]}
    assert "and energy" in capsys.readouterr().out


def test_stopping_by_hand_is_told_apart_from_a_mistake(monkeypatch, capsys):
    def stop(run_id):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.store, "load", stop)
    assert main(["show", "x"]) == 130
    assert "start again to go on" in capsys.readouterr().err


def test_the_help_of_run_names_every_field(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    assert "--learning-rate (0.002)" in shown
    assert "--partition.alpha" in shown
    assert "--task (required)" in shown


def test_flower_is_asked_for_where_it_is_not_installed(monkeypatch, capsys):
    def absent(name):
        raise extra.PackageNotFoundError

    monkeypatch.setattr(extra, "version", absent)
    assert main(["run", "--task", "lookalike_fpb", "--engine", "flower"]) == 2
    told = 'fedbench: Flower is not installed: pip install "fedbench[flower]".\n'
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("model", [RunConfig, PartitionConfig])
def test_the_help_says_what_every_field_means(model):
    assert {name for name, said in meanings(model).items() if said} >= {*model.model_fields} - {
        "partition"
    }


def test_a_data_folder_that_is_not_there_is_told_before_anything_is_fetched(monkeypatch, capsys):
    monkeypatch.setenv("FEDBENCH_DATA", "/no/such/folder")
    assert main(["audit", "fpb"]) == 2
    assert "FEDBENCH_DATA is /no/such/folder, which is no folder" in capsys.readouterr().err


HEAVY = ("torch", "pandas", "numpy", "pydantic", "yaml", "matplotlib", "transformers")


@pytest.mark.parametrize("words", [["--help"], ["verify", "--help"], ["export", "--help"]])
def test_telling_what_there_is_imports_nothing_heavy(words):
    code = (
        "import sys, contextlib\nfrom fedbench.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({words!r})\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "usage: python -m fedbench" in done.stdout


def test_every_command_is_a_function():
    parser = cli._parser()
    (choices,) = [a.choices for a in parser._actions if isinstance(a.choices, dict)]
    for sub in choices.values():
        assert callable(getattr(commands, sub.get_default("command")))


def test_rules_are_checked_from_the_command_line(capsys):
    assert main(["conformance"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in RULES)
    assert main(["conformance", "flexlora"]) == 0
    assert "Is it the best of the shared rank for that mean?" in capsys.readouterr().out
    assert main(["conformance", "fedvag"]) == 2


def test_a_failed_check_is_an_exit_status(monkeypatch, tmp_path, capsys):
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "elses.py").write_text(
        "def first(shared, trained, examples, scale):\n    return trained[0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["conformance", "somebody.elses:first"]) == 1
    assert "failed" in capsys.readouterr().out


def test_parts_of_privacy_and_secure_aggregation_are_among_the_options_that_are_told():
    shown = told()
    for option in ("--privacy.unit", "--privacy.clip", "--secure.bound", "--partition.kind"):
        assert f"  {option} (" in shown
    assert "--privacy (" not in shown
