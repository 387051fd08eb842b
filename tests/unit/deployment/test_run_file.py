"""What a server is told: all that is wrong at once, and paths beside the file."""

from __future__ import annotations

import pytest
import yaml

from fedbench.deployment.run_file import read_run_file
from fedbench.errors import FedbenchError
from fedbench.privacy import turn
from tests import toys

USUAL = {
    "run": {"task": "task/toy.yml", "rank": 2},
    "sites": {"north": "keys/north.pub", "south": "keys/south.pub"},
}


@pytest.fixture
def written(tmp_path):
    toys.make_task(tmp_path / "task")

    def write(**values):
        path = tmp_path / "run.yml"
        path.write_text(yaml.safe_dump({**USUAL, **values}), encoding="utf-8")
        return path

    return write


def test_paths_are_beside_the_file_and_there_are_as_many_sites_as_keys(written, tmp_path):
    file, config = read_run_file(written())
    assert file.sites["south"] == tmp_path / "keys" / "south.pub"
    assert (file.keys, file.folder) == (tmp_path / "keys", tmp_path / "federation")
    assert config.task == str(tmp_path / "task" / "toy.yml")
    assert config.partition.sites == 2
    assert file.named == {"site-00": "north", "site-01": "south"}
    assert file.listens == ("0.0.0.0", 9092)


def test_all_that_is_wrong_is_told_at_once(written):
    path = written(address="nowhere", begin_with=0, patience=-1, odd=1, sites=7)
    with pytest.raises(FedbenchError) as caught:
        read_run_file(path)
    told = str(caught.value)
    assert str(path) in told
    assert all(name in told for name in ("address", "begin_with", "patience", "odd", "sites"))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sites": {}}, "sites is empty"),
        ({"begin_with": 3}, "begin_with = 3 is more than the 2 sites"),
        ({"address": "host:0"}, "HOST:PORT"),
        ({"address": ":9092"}, "HOST:PORT"),
        ({"address": "host:65536"}, "HOST:PORT"),
        ({"run": {"task": "task/toy.yml", "passes": -1}}, "under run: .*passes"),
        ({"run": {"task": "task/toy.yml", "rule": "fedbest"}}, "under run: .*fedbest"),
        ({"run": {"task": "task/toy.yml", "labels": "shuffled"}}, "is for simulations"),
        ({"run": {"task": "task/toy.yml", "setting": "local"}}, "is for simulations"),
    ],
)
def test_what_contradicts_is_refused(written, values, reason):
    with pytest.raises(FedbenchError, match=reason):
        read_run_file(written(**values))


def test_an_address_of_the_newer_kind_is_one(written):
    file, _ = read_run_file(written(address="[::1]:9000"))
    assert file.listens == ("::1", 9000)


def test_noise_that_epsilon_asks_for_is_found_here_and_not_at_sites(written, monkeypatch):
    monkeypatch.setattr(turn, "noise_for", lambda *asked: 1.25)  # which takes seconds
    privacy = {"unit": "example", "clip": 1.0, "epsilon": 8.0, "examples": 40, "accountant": "rdp"}
    _, config = read_run_file(written(run={**USUAL["run"], "privacy": privacy}))
    assert config.privacy.noise == 1.25
    assert config.privacy.epsilon == 8.0
