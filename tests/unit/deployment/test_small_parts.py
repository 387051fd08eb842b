"""What people at both ends are told, the policy to begin with, and the commands."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("flwr")

import yaml

from fedbench import cli
from fedbench.config import parse_config
from fedbench.deployment import extra
from fedbench.deployment.policy import SitePolicy, read_policy
from fedbench.deployment.policy_text import TEXT, write_policy
from fedbench.deployment.telling import AtServer, AtSite, in_words, megabytes
from fedbench.engines import Failure
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve
from tests import toys

CONFIG = resolve(parse_config({"task": "lookalike_fpb", "rounds": 3}))


# The policy to begin with


def test_the_policy_to_begin_with_says_the_defaults_and_can_be_used(tmp_path):
    path = tmp_path / "site" / "policy.yml"
    write_policy(path)
    assert read_policy(path) == SitePolicy()
    assert {*yaml.safe_load(TEXT)} < {*SitePolicy.model_fields}


def test_every_line_of_it_that_is_switched_off_can_be_switched_on(tmp_path):
    lines = [re.sub(r"^# (?=[a-z_]+: )", "", line) for line in TEXT.splitlines()]
    kept = [line for line in lines if not line.startswith(("required: ", "comment: "))]
    values = yaml.safe_load("\n".join(kept))
    assert {*SitePolicy.model_fields} == {*values}
    SitePolicy.model_validate(values)


def test_a_policy_is_never_written_over(tmp_path):
    path = tmp_path / "site" / "policy.yml"
    write_policy(path)
    path.write_text("minimum_cohort: 9\n", encoding="utf-8")
    with pytest.raises(FedbenchError, match="is there already"):
        write_policy(path)
    assert read_policy(path).minimum_cohort == 9


@pytest.mark.parametrize(("before", "after"), [(0o700, 0o700), (0o777, 0o755), (0o750, 0o750)])
def test_others_can_write_no_folder_of_a_policy_and_read_none_that_they_could_not(
    tmp_path, before, after
):
    folder = tmp_path / "site"
    folder.mkdir()
    folder.chmod(before)
    write_policy(folder / "policy.yml")
    assert folder.stat().st_mode & 0o777 == after


# Telling


def test_durations_and_sizes_are_told_as_people_say_them():
    assert [in_words(seconds) for seconds in (3, 119, 120, 7300)] == [
        "3 s", "119 s", "2 min", "2 h"
    ]  # fmt: skip
    assert megabytes(1_234_567) == "1.23 MB"


def test_people_at_a_site_are_told_of_training_and_of_refusals_and_not_of_the_rest():
    said = []
    tally = AtSite(said.append, lambda: 1.5, 8.0)
    tally.answered(CONFIG, {"kind": "validate"}, b"x" * 10**6, 1.0)
    assert said == []
    tally.answered(CONFIG, {"kind": "train", "round": 0}, b"x" * 10**6, 3.0)
    assert said[0].startswith(
        "Round 1 of 3: trained in 3 s, 2 MB sent since it began, epsilon 1.5 of 8"
    )
    assert said[0].endswith("spent.")  # a whole round was not seen yet
    tally.answered(CONFIG, {"kind": "train", "round": 2}, b"x", 3.0)
    assert said.pop(1).endswith("; the last one.")
    tally.answered(CONFIG, {"kind": "\x1b[2J"}, Failure("Not allowed."), 0.0)
    assert said[1] == "A message to '\\x1b[2J' was refused. Not allowed."


def test_people_at_a_server_are_told_of_rounds_and_of_who_is_missing():
    said = []
    tally = AtServer(said.append, CONFIG, ["site-00", "site-01"], lambda: (10**6, 10**6))
    tally.round({"round": 0, "cohort": ["site-00"], "bytes_up": 10**6, "bytes_down": None,
                 "validation_accuracy": 0.5, "n_validation": 8,
                 "refused": {"site-01": "It is away."}})  # fmt: skip
    assert said[0].startswith(
        "Round 1 of 3: 1 of 2 sites, validation accuracy 0.500 of 8 items, 1 MB of payloads since "
        "it began, 2 MB by Flower; "
    )
    assert said[1] == "  site-01: It is away."
    tally.round({"round": 2, "cohort": [], "abandoned": "Too few.", "epsilon": {"site-00": 2.0}})
    assert said[2].endswith("abandoned (Too few), 1 MB of payloads since it began, 2 MB by "
                            "Flower, epsilon at most 2; the last one.")  # fmt: skip


# Flower


def test_flower_in_another_version_or_none_is_refused_with_the_remedy(monkeypatch):
    extra.check_flower()
    monkeypatch.setattr(extra, "FLOWER", "0.0")
    with pytest.raises(FedbenchError, match=r'this was written for 0.0: run pip install "fedbench'):
        extra.check_flower()

    def absent(name):
        raise extra.PackageNotFoundError

    monkeypatch.setattr(extra, "version", absent)
    with pytest.raises(FedbenchError, match="Flower is not installed"):
        extra.check_flower()


# Commands


@pytest.mark.parametrize("command", ["server", "site", "site-policy", "keys"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"fedbench {command}" in capsys.readouterr().out


def test_what_is_missing_is_told_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    task = toys.make_task(tmp_path / "task")
    data = str(task.parent / "toy.csv")
    site = ["site", "--data", data, "--task", str(task), "--server", "host:1"]
    keyed = [*site, "--key", str(tmp_path / "none.key")]
    run = tmp_path / "run.yml"
    run.write_text(f"run: {{task: {task}}}\nsites: {{a: a.pub}}\n", encoding="utf-8")
    for arguments in (["server", "--config", "none.yml"], ["server", "--config", str(run)], site,
                      keyed, ["keys", "site", "../x"], ["keys", "show", "none.pub"]):  # fmt: skip
        assert cli.main(arguments) == 2, arguments
        told = capsys.readouterr().err
        assert told.startswith("fedbench: ")
        assert told.count("\n") == 1
        assert "Traceback" not in told
    assert cli.main(["site-policy"]) == 0
    assert cli.main(["site-policy"]) == 2
