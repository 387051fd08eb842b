"""What a server keeps of a federation, and how it ends one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("flwr")

from fedbench.deployment import at_server, results
from fedbench.deployment.at_server import REPORT, _farewell, _gathered, _is_over
from fedbench.deployment.proposing import KEPT
from fedbench.deployment.run_file import RunFile, claim, claimed
from fedbench.engines import Failure
from fedbench.errors import FedbenchError
from fedbench.federation import Federated
from fedbench.files import read_json, write_json
from tests import bigram

CONFIG = bigram.config()
KEYS = {"site-00": "a", "site-01": "b"}
RESULT = Federated({"table": torch.ones(2)}, [{"cohort": ["site-00"]}, {"cohort": [*KEYS]}], {})


@pytest.fixture
def server(tmp_path):
    names = {"north": tmp_path / "n.pub", "south": tmp_path / "s.pub"}
    file = RunFile(run={}, sites=names, folder=tmp_path)
    return SimpleNamespace(file=file, config=CONFIG)


class Sites:
    """An engine whose sites take a result, but for those that are away."""

    def __init__(self, away=(), there=()):
        self.gone, self.asked, self.away = away, [], {}
        self.directory = lambda: dict.fromkeys(there)

    def exchange(self, messages, deadline):
        for site, payload in messages.items():
            self.asked.append(site)
            took = results.acknowledged(KEPT, site, payload)
            yield site, Failure("It is away.") if site in self.gone else took


@pytest.mark.parametrize(
    ("moved", "told"),
    [
        ({"config": bigram.config(rounds=9)}, "another configuration"),
        ({"keys": {"site-00": "b", "site-01": "a"}}, "in another order"),
        ({"keys": {"site-00": "a", "site-01": "c"}}, "other keys of sites"),
        ({"made_by": "new"}, "another version of fedbench"),
    ],
)
def test_a_folder_is_of_one_run_between_the_same_sites_by_the_same_code(tmp_path, moved, told):
    mine = {"config": CONFIG, "keys": KEYS, "made_by": "old"}
    claim(tmp_path, **mine)
    claim(tmp_path, **mine)
    with pytest.raises(FedbenchError, match=told):
        claim(tmp_path, **{**mine, **moved})
    assert claimed(tmp_path)["seed"] == CONFIG.seed


def test_who_has_the_result_is_written_down_and_not_told_again(server):
    said = []
    first, second = Sites(away={"site-01"}), Sites()
    _farewell(server, first, RESULT, said.append)
    assert read_json(server.file.folder / "took.json") == ["site-00"]
    assert said == [
        "south did not say that they have the adapter: start the server again when they are "
        "there, or hand it over."
    ]
    _farewell(server, second, RESULT, said.append)
    assert (first.asked, second.asked) == (["site-00", "site-01"], ["site-01"])
    assert read_json(server.file.folder / "took.json") == ["site-00", "site-01"]
    assert len(said) == 1


def test_a_federation_is_over_once_all_who_took_part_have_the_result(tmp_path):
    assert not _is_over(tmp_path)
    for has, took_part, over in ((False, True, False), (True, True, True), (False, False, True)):
        sites = {"north": {"has_the_adapter": has, "took_part": took_part}}
        write_json(tmp_path / REPORT, {"sites": sites})
        assert _is_over(tmp_path) == over


def test_who_is_not_there_when_it_begins_is_not_waited_for(server):
    server.file = server.file.model_copy(update={"begin_with": 1})
    engine = Sites(there=["site-01"])
    _gathered(server, SimpleNamespace(refusals={}), engine, lambda text: None)
    assert set(engine.away) == {"site-00"}


def test_too_many_refusals_end_it_with_the_reasons(server, monkeypatch):
    monkeypatch.setattr(at_server, "_LOOK", 0.0)
    joining = SimpleNamespace(refusals={"site-01": "Its policy does not allow it."})
    engine = Sites(there=["site-00"])
    with pytest.raises(FedbenchError, match="south: Its policy does not allow it"):
        _gathered(server, joining, engine, lambda text: None)
    assert engine.asked == ["site-00"]  # which was told that nothing comes of it
