"""An exchange is told in parts by what both its ends saw, and nothing that passes is changed."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest

pytest.importorskip("flwr")

from fedbench.bench import watching
from fedbench.bench.watching import Exchange, Watched, WatchedGrid, merged, parts_of, peaks
from fedbench.engines.answering import answer
from fedbench.engines.over_flower import OverFlower, answering_app
from fedbench.errors import FedbenchError
from fedbench.federation import federate
from tests import bigram
from tests.grids import in_memory
from tests.unit.test_federation import HELD, same

SEEN = {"pushed": 1.0, "arrived": 6.0, "bytes_down": 10, "bytes_up": 20}
ROW = {"name": "late", "taken": 3.0, "in_hand": 3.5, "answered": 5.0, "handed": 5.25}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "moments.jsonl"
    rows = [ROW, ROW | {"name": "early"}, ROW | {"name": "a proposal"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_parts_are_of_the_message_whose_reply_came_last_and_add_up(file):
    moments = merged({"early": SEEN | {"arrived": 5.5}, "late": SEEN}, [file])
    assert moments.keys() == {"early", "late"}
    found = parts_of(Exchange(0.5, 6.0), moments)
    assert found == {
        "seconds": 5.5, "push": 0.5, "wait": 2.0, "down": 0.5, "work": 1.5, "over": 0.25,
        "back": 0.75,
    }  # fmt: skip


def test_an_exchange_of_which_a_site_saw_nothing_is_no_measurement():
    with pytest.raises(FedbenchError, match="seen from both ends"):
        parts_of(Exchange(0.5, 6.0), {"one": SEEN})


def test_a_watched_federation_ends_with_the_same_bits_and_every_message_was_seen(tmp_path):
    config = bigram.config(rule="fedavg", sites=3, rounds=2)
    found = []
    for watched in (False, True):
        folder = tmp_path / str(watched)
        contexts = bigram.contexts(HELD, config, folder / "sites")
        apps = {site: answering_app(partial(answer, one)) for site, one in contexts.items()}
        with in_memory(apps) as nodes:
            grid = WatchedGrid(nodes.grid)
            engine = OverFlower(grid if watched else nodes.grid, nodes.directory, pause=0.001)
            engine = Watched(engine) if watched else engine
            found.append(federate(config, engine, list(HELD), bigram.initial(), folder / "at"))
    assert same(found[0].adapter, found[1].adapter)
    assert found[0].log == found[1].log
    assert len(engine.exchanges) == 2 * config.rounds
    assert len(grid.seen) == 2 * config.rounds * len(HELD)
    assert all({"pushed", "arrived"} <= moments.keys() for moments in grid.seen.values())
    sizes = sum(one["bytes_down"] + one["bytes_up"] for one in grid.seen.values())
    names = ("bytes_down", "bytes_up", "bytes_validation")
    assert sizes == sum(record[name] for record in found[1].log for name in names)


def test_this_process_has_a_peak_and_was_busy():
    assert peaks()["server"][0] > 10
    assert watching.busy() > 0


def test_what_is_started_beside_ends_with_the_block(tmp_path):
    with watching.beside(["sleep", "60"], tmp_path) as started:
        assert started.poll() is None
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)
