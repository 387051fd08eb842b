"""What is said of machines is computed from what was measured; measuring itself is the bench's."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("flwr")

from fedbench.bench import between, between_figure
from fedbench.bench.between_table import PARTS, TARGET, above, table, transfer


def _told(median: float) -> dict[str, float]:
    return {"median": median, "lowest": median / 2, "highest": 2 * median, "n": 10}


def _exchange(seconds: float, work: float = 0.0) -> dict[str, object]:
    parts = dict.fromkeys(PARTS, _told(0.1))
    return {"seconds": _told(seconds), **parts, "work": _told(work)}


BYTES = {
    "messages": 10, "payloads_down": 1000, "payloads_up": 500, "sent": 2000, "received": 1000,
    "tx": 2200, "rx": 1100,
}  # fmt: skip


def _record(training: float = 4.5) -> dict[str, object]:
    ours = [{"nodes": nodes, "pause": 0.05, **_exchange(3.5)} for nodes in between.NODES]
    floor = {
        "ours": ours,
        "flowers_grid": {"nodes": 2, **_exchange(4.0)},
        "shorter_sleep": {"nodes": 2, **_exchange(0.8)},
    }
    memory = {"server": [500.0], "superlink": [200.0], "site": [600.0, 610.0], "supernode": [150.0]}
    rounds = [
        {
            "sites": sites, "same": True, "floor": _told(3.5), "bytes": BYTES, "memory": memory,
            "round": _told(8.0),
            "in_process": _told(0.2), "train": _exchange(training, 0.5),
            "validate": _exchange(3.6),
        }
        for sites in between.SITES
    ]  # fmt: skip
    lines = [
        {
            "own_grid": True, "mbit": rate, "codec": codec, "codec_down": down,
            "round": _told(30.0), "work": 1.0, "bytes": BYTES, "bytes_computed": 3e6,
            "bytes_measured": 3e6,
            "seconds_computed": 24.0 / rate,
        }
        for rate in between.RATES
        for codec, down in between.CODECS
    ]  # fmt: skip
    flower = [{"nodes": 1, "seconds": _told(6.0)}]
    legs = {
        "flower": flower,
        "floor": floor,
        "pause": [ours[1] | {"busy": 0.2}],
        "rounds": rounds,
        "lines": lines,
    }
    about = {"load": [0.5, 1.5], "hardware": "a machine", "commit": "c"}
    return {leg: {"found": found, **about} for leg, found in legs.items()}


@pytest.fixture
def record():
    return _record()


def test_what_an_exchange_takes_above_the_floor_leaves_work_out(record):
    two, *_ = record["rounds"]["found"]
    assert above(two, "train") == pytest.approx(4.5 - 0.5 - 3.5)


def test_what_is_left_of_a_round_for_its_line_has_no_floor_of_its_two_exchanges(record):
    ours, (one, *_) = record["floor"]["found"]["ours"], record["lines"]["found"]
    assert transfer(one, ours) == pytest.approx(30.0 - 1.0 - 2 * 3.5)


def test_the_table_says_where_it_was_measured_and_has_a_row_for_everything(record):
    lines = table(record)
    assert lines[0] == "loopback, all on one machine: a machine"
    text = "\n".join(lines)
    for said in ("ours, 8 nodes", "as it comes, 1 node ", *PARTS.values(), "0.05 ", "4 sites"):
        assert said in text
    assert sum(codec in text for codec, _ in between.CODECS) == len(between.CODECS)
    assert "Flower counts 100 a message more down, 50 up" in text
    assert "120.0 to 120.0 % more than payloads" in text
    assert "   500    200    610    150" in text


@pytest.mark.parametrize(("training", "verdict"), [(4.5, "0.50 s, met"), (5.5, "1.50 s, missed")])
def test_the_target_is_met_or_missed(training, verdict):
    assert f"at most {TARGET:.0f} s: {verdict}" in "\n".join(table(_record(training)))


def test_the_figure_is_drawn_with_its_numbers_and_the_same_each_time(record, tmp_path):
    paths = [between_figure.save(record, tmp_path / name) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {path.suffix for path in paths[0].parent.iterdir()} == {
        ".png", ".pdf", ".csv", ".md", ".json",
    }  # fmt: skip
    assert "Loopback, all on one machine" in (tmp_path / "a" / "between.md").read_text()


def test_a_leg_that_there_is_not_is_named(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["between", "ceiling"])
    with pytest.raises(SystemExit):
        between.main()
    assert "there is no leg ceiling" in capsys.readouterr().err


def test_legs_are_measured_one_by_one_and_kept_with_those_of_before(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    found = {leg: one["found"] for leg, one in _record().items()}
    legs = {leg: (lambda leg=leg: found[leg]) for leg in found}
    monkeypatch.setattr(between, "LEGS", legs)
    monkeypatch.setattr("sys.argv", ["between", "floor"])
    between.main()
    assert json.loads(capsys.readouterr().out).keys() >= {"floor"}
    monkeypatch.setattr("sys.argv", ["between", "flower", "pause", "rounds", "lines"])
    between.main()
    assert "ours, 8 nodes" in capsys.readouterr().out
