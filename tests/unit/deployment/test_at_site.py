"""How a site begins, and how it ends before there is a result."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedbench import cli
from fedbench.deployment.at_site import take_part
from fedbench.deployment.node import Entrance
from fedbench.deployment.proposing import OFF
from fedbench.errors import Damaged
from fedbench.wire import framed
from tests.institutions import agreed, open_site


def test_a_federation_that_is_called_off_ends_a_site_in_words(world, config, housed, did):
    with open_site(housed()) as found:
        agreed(found, world, config)
        header, _ = found.told(framed({"kind": OFF, "run": config.id, "round": 0}, b""))
        assert header["kind"] == "off"
        assert found.ending.refused
        assert found.ending.why == "Its server has called the federation off."
        assert [one.kind for one in found.record] == ["agree", "off"]
    assert did == []


def test_a_site_whose_record_was_changed_does_not_begin(world, config, housed):
    house = housed()
    with open_site(house) as found:
        agreed(found, world, config)
    record = house.folder / "record.jsonl"
    record.write_bytes(record.read_bytes().replace(b"agree", b"other"))
    with pytest.raises(Damaged, match="not what was written"):
        take_part(house, Entrance("127.0.0.1:1"), lambda text: None)


@pytest.mark.parametrize("address", ["host", "host:abc", "http://host:9092", "host:0"])
def test_an_address_that_is_none_is_refused_at_once(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told = ["site", "--data", "a.csv", "--task", "a.yml", "--server", address]
    assert cli.main(told) == 2
    assert "an address is HOST:PORT" in capsys.readouterr().err
    assert [*Path().iterdir()] == []
