"""Secure aggregation in the loop: the same federation, of which the server sees sums only."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedbench.budgets import spent
from fedbench.config import RunConfig
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve
from fedbench.rules import RULES, rule_of
from fedbench.secure_aggregation import FixedPoint
from fedbench.secure_round import _attempt
from fedbench.wire import framed, opened
from tests import bigram
from tests.payloads import header_of
from tests.unit.test_federation import Killed, killing, run, same

HELD = {
    "site-00": bigram.sequences((1, 2), (1, 2), (3, 4)),
    "site-01": bigram.sequences((1, 5), (2, 3)),
    "site-02": bigram.sequences((4, 5), (5, 1), (2, 2), (3, 3)),
    "site-03": bigram.sequences((3, 1), (2, 5), (5, 5)),
    "site-04": bigram.sequences((2, 1)),
}
SECURE = {"bound": 4.0, "greatest_weight": 4.0}


def asked(secure=SECURE, **values):
    return bigram.config(**{"secure": secure, "sites": 5, "passes": 3, **values})


def both(folder, engine=InProcess, **values):
    """The same federation under masks and without."""
    hidden = run(asked(**values), folder / "hidden", HELD, engine)
    return hidden, run(asked(None, **values), folder / "plain", HELD, engine)


def assert_near(a, b, tolerance):
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name] - b[name]).abs().max() <= tolerance


#: units of fixed point, of five sites of which the lightest counts a quarter of the greatest
UNIT = FixedPoint(5, 4.0, 32).unit


@pytest.mark.parametrize(
    "rule",
    ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "majority-vote"],
)
def test_a_rule_that_needs_a_sum_is_given_the_plain_sum_to_the_stated_precision(
    tmp_path, monkeypatch, rule
):
    # What rules make of it is no measure: adaptive ones divide by small numbers, and so enlarge
    # what rounding did.
    seen, inner = [], rule_of(rule)

    def server(state, given):
        seen.append(given)
        return inner.server(state, given)

    name = f"heard-{rule}"
    monkeypatch.setitem(RULES, name, lambda: replace(inner, name=name, server=server))
    both(tmp_path, rule=name, rounds=1)
    hidden, plain = seen
    largest = max(float(tensor.abs().max()) for tensor in plain.total.values())
    steps, doubles = len(HELD) / 2 * UNIT * SECURE["greatest_weight"], len(HELD) * largest * 2**-24
    assert steps + doubles < 1e-5 * largest
    assert_near(hidden.total, plain.total, steps + doubles)
    assert hidden.weight == pytest.approx(plain.weight, rel=1e-8)


@pytest.mark.parametrize("rule", ["scaffold", "fednova"])
def test_rules_that_send_more_than_an_update_are_summed_alike(tmp_path, rule):
    secure = {"bound": 64.0, "greatest_weight": 4.0}
    values = {"rule": rule, "optimizer": "sgd", "rounds": 1}
    hidden = run(asked(secure, **values), tmp_path / "hidden", HELD)
    plain = run(asked(None, **values), tmp_path / "plain", HELD)
    assert_near(hidden.adapter, plain.adapter, 1e-4)


def test_a_whole_federation_ends_where_the_plain_one_ends(tmp_path):
    hidden, plain = both(tmp_path, rounds=4, participation=0.61)
    assert_near(hidden.adapter, plain.adapter, 1e-4)
    assert [r["cohort"] for r in hidden.log] == [r["cohort"] for r in plain.log]
    assert hidden.log[-1]["validation_accuracy"] == plain.log[-1]["validation_accuracy"]


def test_quantised_updates_are_summed_as_they_would_have_been_received(tmp_path):
    hidden, plain = both(tmp_path, codec="ef+int8", rounds=2)
    assert_near(hidden.adapter, plain.adapter, 1e-4)


def dropping(kind, *sites):
    """An engine that loses the replies of ``sites`` to messages of a ``kind``, in round 1."""

    class Dropping(InProcess):
        round_ = None

        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = header_of(messages[site])
                Dropping.round_ = header.get("round", Dropping.round_)
                lost = Dropping.round_ == 1 and header["kind"] == kind and site in sites
                yield site, Failure("Its line is dead.") if lost else reply

    return Dropping


@pytest.mark.parametrize("kind", ["advertise", "share", "train"])
def test_who_drops_out_before_its_update_came_is_left_out_of_the_sum(tmp_path, kind):
    hidden = run(asked(), tmp_path / "hidden", HELD, dropping(kind, "site-01"))
    plain = run(asked(None), tmp_path / "plain", HELD, dropping("train", "site-01"))
    assert_near(hidden.adapter, plain.adapter, 1e-4)
    assert hidden.log[1]["refused"] == {"site-01": "Its line is dead."}
    assert "abandoned" not in hidden.log[1]


def test_who_drops_out_once_its_update_came_stays_in_the_sum(tmp_path):
    hidden = run(asked(), tmp_path / "hidden", HELD, dropping("unmask", "site-01"))
    plain = run(asked(None), tmp_path / "plain", HELD)
    assert_near(hidden.adapter, plain.adapter, 1e-4)


@pytest.mark.parametrize("kind", ["advertise", "share", "train", "unmask"])
def test_with_too_few_sites_the_round_is_abandoned_and_the_next_one_is_not(tmp_path, kind):
    log = run(asked(), tmp_path / "a", HELD, dropping(kind, "site-01", "site-02")).log
    assert log[0]["validation_loss"] == log[1]["validation_loss"]  # nothing was learned
    assert log[1]["validation_loss"] != log[2]["validation_loss"]
    told = str(log[1].get("abandoned")) + str(log[1].get("refused"))
    assert "Only 3 of 5 sites" in told


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("exchange", range(10))  # keys, shares, training, unmasking, validation
def test_killed_anywhere_it_ends_with_the_same_bits_under_other_keys(tmp_path, exchange, after):
    config = asked(rounds=2)
    undisturbed = run(config, tmp_path / "whole", HELD)
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", HELD, killing(exchange, after))
    resumed = run(config, tmp_path / "cut", HELD)
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log


def everything(tmp_path, **values):
    """All bytes that a server is sent in one round, by kind of message."""
    seen = {}

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                seen.setdefault(header_of(messages[site])["kind"], {})[site] = reply
                yield site, reply

    found = run(asked(rounds=1, **values), tmp_path, HELD, Listening)
    return seen, found


def test_the_server_sees_no_update_and_no_weight_in_anything_that_it_is_sent(tmp_path):
    plain = {}

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                plain.setdefault(header_of(messages[site])["kind"], {})[site] = reply
                yield site, reply

    run(asked(None, rounds=1), tmp_path / "plain", HELD, Listening)
    seen, _ = everything(tmp_path / "hidden")
    for site, reply in seen["train"].items():
        header, body = opened(reply)
        assert "weight" not in header
        hidden = np.frombuffer(body, "<u4")[:-5].astype(np.int64)  # weight, and four zeros
        update = np.frombuffer(opened(plain["train"][site])[1], "<f4")
        # A vector of 57 uniform words: half of them have the highest bit, give or take.
        high = (hidden >> 31).mean()
        assert abs(high - 0.5) < 5 * 0.5 / math.sqrt(len(hidden))
        assert abs(np.corrcoef(hidden, update)[0, 1]) < 0.6
        # Many numbers of the update are zero; no two of the masked words are the same.
        assert len(np.unique(update)) < len(np.unique(hidden)) == len(hidden)


def spoiling(kind, how):
    """An engine in which site-01 replies otherwise to messages of a ``kind``, in round 1."""

    class Spoiling(InProcess):
        round_ = None

        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = header_of(messages[site])
                Spoiling.round_ = header.get("round", Spoiling.round_)
                bad = Spoiling.round_ == 1 and header["kind"] == kind and site == "site-01"
                yield site, how(*opened(reply)) if bad else reply

    return Spoiling


@pytest.mark.parametrize(
    ("kind", "how", "reason"),
    [
        ("advertise", lambda h, b: framed(h, bytes(64)), "is not a public key"),
        ("advertise", lambda h, b: framed(h, bytes(b) + b"x"), "a body of 65 bytes, not 64"),
        ("share", lambda h, b: framed(h | {"sites": 7}, bytes(b)), "lists no sites"),
        ("share", lambda h, b: framed(h | {"sites": ["a", "b", "c", "d"]}, bytes(b)), "all of the"),
        ("train", lambda h, b: framed(h, bytes(b)[:-4]), "masked update has 240 bytes, not 244"),
    ],
)
def test_a_site_that_answers_wrongly_is_left_out_alone(tmp_path, kind, how, reason):
    log = run(asked(), tmp_path, HELD, spoiling(kind, how)).log
    assert [*log[1]["refused"]] == ["site-01"]
    assert reason in log[1]["refused"]["site-01"]
    assert log[1]["cohort"] == ["site-00", "site-02", "site-03", "site-04"]


def test_wrong_shares_of_secrets_give_no_sum_and_not_a_wrong_one(tmp_path):
    engine = spoiling("unmask", lambda header, body: framed(header, bytes(len(body))))
    found = run(asked(), tmp_path, HELD, engine)
    assert "do not take all masks off" in found.log[1]["abandoned"]
    assert found.log[0]["validation_loss"] == found.log[1]["validation_loss"]


@pytest.mark.parametrize("bits", [32, 64])
def test_one_wrong_bit_in_one_share_of_a_seed_gives_no_sum(tmp_path, bits):
    def flipped(header, body):
        return framed(header, bytes([body[0] ^ 1]) + bytes(body[1:]))

    config = asked({**SECURE, "bits": bits})
    found = run(config, tmp_path, HELD, spoiling("unmask", flipped))
    assert "do not take all masks off" in found.log[1]["abandoned"]


def test_a_weight_that_no_site_can_have_gives_no_sum(tmp_path):
    def heavier(header, body):
        words = np.frombuffer(body, "<u4").copy()
        words[-5:-4] += np.uint32(2**31)  # what is added under a mask is added to the sum
        return framed(header, words.tobytes())

    found = run(asked(), tmp_path, HELD, spoiling("train", heavier))
    assert "what so many sites cannot have" in found.log[1]["abandoned"]
    assert found.log[0]["validation_loss"] == found.log[1]["validation_loss"]


def test_who_took_part_in_an_abandoned_round_is_told_that_it_did_not(tmp_path):
    told = []

    class Listening(dropping("unmask", "site-01", "site-02")):
        def exchange(self, messages, deadline=None):
            header = header_of(messages["site-00"])
            if header["kind"] == "train":
                told.append((header["round"], header["turn"], header["accepted"]))
            return super().exchange(messages, deadline)

    log = run(asked(codec="ef+int8"), tmp_path, HELD, Listening).log
    assert told == [(0, 0, -1), (1, 1, 0), (2, 1, 0)]
    assert log[1]["cohort"] == []


def test_a_federation_of_abandoned_rounds_is_no_result(tmp_path):
    class Silent(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                silent = header_of(messages[site])["kind"] == "unmask"
                yield site, Failure("Gone.") if silent else reply

    with pytest.raises(FedbenchError, match=r"Not one update was accepted.*Only 0 of 5 sites"):
        run(asked(), tmp_path, HELD, Silent)


@pytest.mark.parametrize("kind", ["advertise", "share", "unmask"])
def test_bytes_of_abandoned_attempts_are_counted(tmp_path, kind):
    crossed = []

    class Counting(dropping(kind, "site-01", "site-02")):
        def exchange(self, messages, deadline=None):
            sizes = {site: len(payload) for site, payload in messages.items()}
            crossed.append(sum(sizes.values()))
            for site, reply in super().exchange(messages, deadline):
                crossed.append(len(reply) if isinstance(reply, bytes) else 0)
                yield site, reply

    log = run(asked(rounds=2), tmp_path, HELD, Counting).log
    assert sum(map(spent, log)) == sum(crossed)


def test_keys_are_kept_where_only_their_owner_can_read_them(tmp_path):
    everything(tmp_path)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.glob("sites/*/secure")}
    assert modes == {0o600}


def test_masks_are_other_ones_every_time(tmp_path):
    one, first = everything(tmp_path / "a")
    two, second = everything(tmp_path / "b")
    assert same(first.adapter, second.adapter)
    assert all(one["train"][site] != two["train"][site] for site in HELD)


def test_keys_and_shares_are_counted_as_bytes(tmp_path):
    seen, found = everything(tmp_path)
    sent = sum(len(reply) for kind in ("advertise", "share") for reply in seen[kind].values())
    assert found.log[0]["bytes_keys"] > sent
    assert found.log[0]["bytes_unmask"] > sum(map(len, seen["unmask"].values()))
    assert found.log[0]["bytes_up"] == sum(map(len, seen["train"].values()))


def test_a_site_beyond_the_bound_says_so_and_takes_no_part(tmp_path):
    with pytest.raises(FedbenchError, match=r"raise secure\.bound"):
        run(asked({"bound": 1e-6}), tmp_path, HELD)


def test_a_site_that_counts_more_than_the_greatest_weight_takes_no_part(tmp_path):
    log = run(asked({"bound": 4.0, "greatest_weight": 3.0}), tmp_path, HELD).log
    assert "raise secure.greatest_weight" in log[0]["refused"]["site-02"]
    assert log[0]["cohort"] == ["site-00", "site-01", "site-03", "site-04"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("privacy", [None, {"unit": "site", "clip": 0.5, "noise": 1.0}])
def test_an_update_that_is_not_finite_is_refused_at_the_site_where_masks_would_hide_it(
    tmp_path, monkeypatch, privacy, bad
):
    rule = rule_of("fedavg")

    def broken(message, trained, state, work):
        contribution, state = rule.upload(message, trained, state, work)
        if work.examples == 2:  # site-01
            contribution.tensors["bias"][0] = bad
        return contribution, state

    monkeypatch.setitem(RULES, "broken", lambda: replace(rule, name="broken", upload=broken))
    log = run(asked(rule="broken", privacy=privacy), tmp_path, HELD).log
    assert all("not finite" in record["refused"]["site-01"] for record in log)
    assert log[0]["cohort"] == ["site-00", "site-02", "site-03", "site-04"]
    assert all(torch.isfinite(torch.tensor(r["validation_loss"])) for r in log)


@pytest.mark.parametrize("rule", RULES)
def test_rules_that_must_see_each_update_are_refused_with_a_reason(rule):
    optimizer = "sgd" if rule in ("scaffold", "fednova") else "adamw"
    values = {"task": "lookalike_fpb", "rule": rule, "secure": {}, "optimizer": optimizer}
    if rule_of(rule).reduce == "each":
        with pytest.raises(FedbenchError, match="its server must see each update"):
            resolve(RunConfig(**values))
    else:
        assert resolve(RunConfig(**values)).secure is not None


PRIVATE = {"unit": "site", "clip": 0.5, "noise": 1.0}


@pytest.mark.parametrize(
    "values",
    [
        {"privacy": PRIVATE},
        {"privacy": PRIVATE, "secure": {"bound": 0.5}},
        {"privacy": {**PRIVATE, "unit": "example", "examples": 72}, "secure": {"bound": 0.4}},
        {"sampling": "poisson", "participation": 0.5},
    ],
)
def test_what_can_be_added_under_masks_is_not_refused(values):
    config = RunConfig(**{"task": "lookalike_fpb", "secure": {}, "dropout": 0.0, **values})
    assert resolve(config).secure is not None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"codec": "top-k"}, "what it saves cannot be added under masks"),
        ({"codec": "ef+sign"}, "what it saves cannot be added under masks"),
        ({"setting": "local"}, "its sum is its update"),
        ({"participation": 0.1}, "a sum of one is its update: take 0.25 or more"),
        ({"partition": {"ranks": (16, 4)}}, "vectors differ in length"),
        ({"secure": {"threshold": 0.5}}, r"secure.threshold = 0.5"),
        ({"secure": {"bits": 16}}, r"secure.bits = 16"),
        ({"attack": "sign-flip", "hostile": 0.2}, "is not simulated"),
        ({"attack": "label-flip", "hostile": 0.2}, "is not simulated"),
        ({"privacy": PRIVATE, "sampling": "poisson", "participation": 0.5}, "tells who was drawn"),
        ({"privacy": PRIVATE, "secure": {"bound": 0.4}}, "bound = 0.4 is below privacy.clip"),
    ],
)
def test_what_cannot_be_added_under_masks_is_refused_with_a_reason(values, reason):
    with pytest.raises(FedbenchError, match=reason):
        resolve(RunConfig(**{"task": "lookalike_fpb", "secure": {}, **values}))


def test_attempts_are_counted_within_a_round(tmp_path):
    """Else messages, which name their attempt, would grow with how often a run was stopped."""
    assert [_attempt(tmp_path, round_) for round_ in (0, 0, 1, 1, 1, 2)] == [0, 1, 0, 1, 2, 0]
