"""Codecs in a federation: what is owed is a site's state, and changes build on what was heard."""

from __future__ import annotations

import contextlib

import pytest
import torch

from fedbench.config import RunConfig
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError, Replaceable
from fedbench.resolving import resolve
from fedbench.rules import RULES
from fedbench.site import handle
from fedbench.snapshots import kept, parts
from fedbench.wire import BadPayload
from tests import bigram
from tests.payloads import VALIDATE, header_of, written
from tests.unit.test_federation import HELD, Killed, killing, run, same

FEEDBACK = "ef+top-k:share=0.2"
CHANGES = "delta+int8"


def asked(codec="fp32", down="fp32", **values):
    return bigram.config(**{"codec": codec, "codec_down": down, "passes": 3, **values})


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("exchange", range(6))
@pytest.mark.parametrize(
    ("codec", "down"), [(FEEDBACK, "fp32"), ("ef+int4", CHANGES), ("fp32", "delta")]
)
def test_killed_anywhere_a_compressed_federation_ends_with_the_same_bits(
    tmp_path, codec, down, exchange, after
):
    config = asked(codec, down, participation=0.67)
    undisturbed = run(config, tmp_path / "whole")
    with contextlib.suppress(Killed):  # a cohort may have fewer replies than it waits for
        run(config, tmp_path / "cut", engine=killing(exchange, after))
    resumed = run(config, tmp_path / "cut")
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log


def losing(folder, forgets):
    """An engine that loses what site-01 uploads in round 1, and a version of what it keeps."""

    class Losing(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = header_of(messages[site])
                lost = (header["kind"], header["round"], site) == ("train", 1, "site-01")
                if lost and forgets is not None:
                    (folder / "sites" / site / f"{forgets:05d}.state").unlink()
                yield site, Failure("Lost.") if lost else reply

    return Losing


def test_what_was_owed_after_a_lost_upload_is_never_looked_at(tmp_path):
    def after(forgets):
        folder = tmp_path / str(forgets)
        return run(asked(FEEDBACK), folder, engine=losing(folder, forgets)).adapter

    lost, accepted = 1, 0
    assert same(after(lost), after(None))
    with pytest.raises(Replaceable, match="which site-01 goes on from"):
        after(accepted)


def test_with_feedback_a_federation_learns_what_it_cannot_learn_without(tmp_path):
    values = {"rounds": 12, "passes": 36, "learning_rate": 0.3, "schedule": "constant"}
    few = "top-k:share=0.02"  # two of 56 numbers a round
    without = run(asked(few, **values), tmp_path / "without").log
    with_it = run(asked(f"ef+{few}", **values), tmp_path / "with").log
    assert with_it[-1]["validation_loss"] < without[-1]["validation_loss"]
    assert with_it[0]["bytes_up"] == pytest.approx(without[0]["bytes_up"], abs=40)


@pytest.mark.parametrize("codec", ["fp16", "bf16", "int8", "int4"])
def test_a_compressed_federation_ends_near_the_uncompressed_one(tmp_path, codec):
    whole = run(asked(rounds=3), tmp_path / "whole").adapter
    coarse = run(asked(codec, codec, rounds=3), tmp_path / "coarse").adapter
    largest = max(float(t.abs().max()) for t in whole.values())
    bound = {"fp16": 0.002, "bf16": 0.02, "int8": 0.05, "int4": 0.6}[codec]
    for name, tensor in whole.items():
        assert (tensor - coarse[name]).abs().max() <= bound * largest
    assert not same(whole, coarse)


# Changes since the last broadcast.


def forms(config, folder, engine=InProcess):
    found = []

    class Listening(engine):
        def exchange(self, messages, deadline=None):
            for site, payload in messages.items():
                header = header_of(payload)
                found.append((header["kind"], header["round"], site, header["form"], len(payload)))
            return super().exchange(messages, deadline)

    return run(config, folder, engine=Listening), found


def test_who_heard_the_last_broadcast_is_told_the_change_and_who_holds_it_nothing(tmp_path):
    _, told = forms(asked(down=CHANGES), tmp_path)
    by_exchange = {}
    for kind, round_, _, form, _ in told:
        by_exchange.setdefault((kind, round_), set()).add(form)
    assert by_exchange == {
        ("train", 0): {"whole"},
        **{("train", n): {"same"} for n in (1, 2)},
        **{("validate", n): {"change"} for n in range(3)},
    }


def test_a_schema_is_told_once_to_who_is_told_changes_too(tmp_path):
    told = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            told.extend(s for s, payload in messages.items() if "layout" in header_of(payload))
            return super().exchange(messages, deadline)

    run(asked(down=CHANGES, rounds=6, participation=0.67), tmp_path, engine=Listening)
    assert sorted(told) == sorted(HELD)


def test_who_missed_a_broadcast_is_told_the_whole(tmp_path):
    config = asked(down=CHANGES, participation=0.34, validated_by="cohort", rounds=6)
    _, told = forms(config, tmp_path)
    first = {}
    for kind, round_, site, form, _ in told:
        if kind == "train":
            fresh = first.get(site) == round_ - 1
            assert form == ("same" if fresh else "whole")
            first[site] = round_


def test_lossless_changes_end_where_whole_messages_end(tmp_path):
    whole = run(asked(participation=0.67), tmp_path / "whole")
    changes = run(asked(down="delta", participation=0.67), tmp_path / "changes")
    for name, tensor in whole.adapter.items():
        torch.testing.assert_close(changes.adapter[name], tensor, rtol=1e-4, atol=1e-6)
    assert changes.log[1]["bytes_down"] < 0.6 * whole.log[1]["bytes_down"]


def test_what_changes_lose_does_not_add_up(tmp_path):
    """What sites hold stays within one step of quantisation of what the server has."""
    config = asked(down="delta+int4", rounds=12, passes=12, schedule="constant")
    found = run(config, tmp_path)
    held = parts(kept(tmp_path / "server" / "checkpoint")[1])["held"]
    last = max(float(t.abs().max()) for t in found.adapter.values())
    for name, tensor in found.adapter.items():
        assert (held[f"adapter/{name}"] - tensor).abs().max() < 0.1 * last
    site = kept(tmp_path / "sites" / "site-00" / "00012.held")[1]
    assert same(site, held)


def test_a_site_that_holds_something_else_says_so(tmp_path):
    config = asked(down=CHANGES)
    context = bigram.contexts(HELD, config, tmp_path)["site-00"]
    header = VALIDATE | {"form": "change", "holds": 4, "version": 5}
    with pytest.raises(BadPayload, match="builds on version 4, which this site does not hold"):
        handle(context, written(header, {"adapter/table": torch.zeros(2)}))


def test_a_message_that_did_not_reach_its_site_is_made_good_by_the_next(tmp_path):
    class Deaf(InProcess):
        """site-01 never gets the validation of round 0."""

        def exchange(self, messages, deadline=None):
            reached = dict(messages.items())
            header = header_of(reached["site-01"]) if "site-01" in reached else {}
            if (header.get("kind"), header.get("round")) == ("validate", 0):
                del reached["site-01"]
                yield "site-01", Failure("It was offline.")
            yield from super().exchange(reached, deadline)

    found, told = forms(asked(down=CHANGES), tmp_path, Deaf)
    assert ("train", 1, "site-01", "whole") in {row[:4] for row in told}
    assert all(record["cohort"] == sorted(HELD) for record in found.log)


# What has no meaning.


@pytest.mark.parametrize("rule", ["flexlora", "flora", "fedex-lora", "hetlora"])
@pytest.mark.parametrize("codec", ["top-k", "sign", "ef+int8", "low-rank"])
def test_whole_factors_are_not_sparsified_and_owe_nothing(rule, codec):
    with pytest.raises(FedbenchError, match="whose sites send whole factors"):
        resolve(RunConfig(task="lookalike_fpb", rule=rule, codec=codec))


@pytest.mark.parametrize("rule", RULES)
def test_any_rule_takes_a_quantiser(rule):
    method = {"optimizer": "sgd"} if rule in ("scaffold", "fednova") else {}
    config = resolve(RunConfig(task="lookalike_fpb", rule=rule, codec="int8:block=256", **method))
    assert config.codec == "int8"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"codec": "delta+int8"}, "an update is a difference already"),
        ({"codec_down": "ef+int8"}, "what a change lost is part of the next one"),
        ({"codec_down": "top-k"}, r"put delta\+ before it"),
        (
            {"codec_down": "delta", "partition": {"ranks": (16, 4)}},
            "are not all told the same",
        ),
        ({"codec_down": "int9"}, "codec_down = 'int9': 'int9' is not known, did you mean int8"),
    ],
)
def test_a_codec_without_a_meaning_is_refused(values, reason):
    with pytest.raises(FedbenchError, match=reason):
        resolve(RunConfig(task="lookalike_fpb", **values))
