"""The loop over real payloads: one site is plain training, and no interruption leaves a trace."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from fedbench import federation, replies
from fedbench.budgets import spent
from fedbench.cohorts import draw_cohort
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.federation import federate
from fedbench.messages import Messages
from fedbench.privacy.chance import SIMULATED
from fedbench.round_log import validation_record
from fedbench.rules import RULES, rule_of
from fedbench.rules.rule import Contribution
from fedbench.site import _save_state, handle
from fedbench.snapshots import joined, keep, kept
from fedbench.train import LocalObjective, batches_of_turn, examples_of_turn, train
from fedbench.wire import BadPayload, framed, opened, seal
from tests import bigram
from tests.payloads import (
    TRAIN,
    VALIDATE,
    asking,
    changed,
    header_of,
    update_of,
    written,
)

HELD = {
    "site-00": bigram.sequences((1, 2), (1, 2), (3, 4)),
    "site-01": bigram.sequences((1, 5), (2, 3)),
    "site-02": bigram.sequences((4, 5), (5, 1), (2, 2), (3, 3)),
}


def run(config, folder, held=None, engine=InProcess, sites=None, chance=SIMULATED):
    held = HELD if held is None else held
    contexts = bigram.contexts(held, config, folder / "sites")
    contexts = {site: replace(context, chance=chance) for site, context in contexts.items()}
    sites, server = list(held) if sites is None else sites, folder / "server"
    return federate(config, engine(contexts), sites, bigram.initial(), server, chance=chance)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


def test_a_federation_of_one_site_is_plain_training(tmp_path):
    config = bigram.config(rounds=3, passes=6)
    held = {"site-00": HELD["site-02"]}
    found = run(config, tmp_path, held)

    model = bigram.Bigram()
    for turn in range(3):
        chosen = examples_of_turn(4, 4 * 2.0, turn, config.seed, "site-00")
        batches = batches_of_turn([3] * 4, chosen, 2, config.seed, "site-00", turn)
        sequences = [[held["site-00"][i] for i in batch] for batch in batches]
        train(model, sequences, config, (turn / 3, (turn + 1) / 3), LocalObjective())
    close(found.adapter, {n: p.detach() for n, p in model.named_parameters()})
    assert sum(record["examples"] for record in found.log) == 4 * 6


def test_a_federation_learns_what_its_sites_hold(tmp_path):
    log = run(bigram.config(rounds=5, passes=30, learning_rate=0.3), tmp_path).log
    assert log[-1]["validation_accuracy"] == 1.0
    assert log[-1]["validation_loss"] < log[0]["validation_loss"]


def done_by(payloads):
    """Examples that each site processed, from what it replied."""
    done = Counter()
    for payload in payloads:
        header = header_of(payload)
        if header["kind"] == "update":
            done[header["site"]] += header["examples"]
    return done


def test_slow_sites_do_their_share_of_the_work_and_all_sites_together_do_it_all(tmp_path):
    heard = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, payload in super().exchange(messages, deadline):
                heard.append(payload)
                yield site, payload

    held = {f"site-{n:02d}": bigram.sequences(*[(1, 2)] * 4) for n in range(3)}
    partition = {"sites": 3, "slowest": 0.5}
    run(bigram.config(rounds=3, passes=9, partition=partition), tmp_path, held, Listening)
    assert done_by(heard) == {"site-00": 48, "site-01": 36, "site-02": 24}


def test_a_site_that_trains_alone_is_not_slowed(tmp_path):
    held = {"site-00": HELD["site-00"]}
    partition = {"sites": 3, "slowest": 0.5}
    log = run(bigram.config(partition=partition), tmp_path, held).log
    assert log == run(bigram.config(), tmp_path / "all", held).log


def test_fednova_undoes_what_unequal_work_does_to_fedavg(tmp_path):
    """Two sites disagree about one answer; on average both are right equally often."""
    held = {"site-00": bigram.sequences(*[(1, 2)] * 8), "site-01": bigram.sequences(*[(1, 3)] * 8)}

    def leaning(rule, slowest):
        """How much more probable than the slow site's answer that of the fast one is."""
        config = bigram.config(
            rule=rule,
            optimizer="sgd",
            rounds=20,
            passes=160,
            schedule="constant",
            warmup=0,
            learning_rate=0.02,
            gradient_clip=1e9,
            partition={"sites": 2, "slowest": slowest},
        )
        adapter = run(config, tmp_path / f"{rule}-{slowest}", held).adapter
        told = torch.softmax(adapter["table"][1] + adapter["bias"], 0)
        return (told[2] - told[3]).item()

    assert abs(leaning("fedavg", 1.0)) < 1e-4
    assert leaning("fedavg", 0.2) > 0.2
    assert abs(leaning("fednova", 0.2)) < leaning("fedavg", 0.2) / 5
    assert leaning("fednova", 1.0) == pytest.approx(leaning("fedavg", 1.0), abs=1e-5)


def test_two_identical_sites_are_as_one(tmp_path, monkeypatch):
    """Streams are keyed by site, so both are made to draw as the first."""
    monkeypatch.setattr(
        "fedbench.site.examples_of_turn",
        lambda count, quota, turn, *key: examples_of_turn(count, quota, turn),
    )
    monkeypatch.setattr(
        "fedbench.site.batches_of_turn",
        lambda lengths, chosen, size, seed, site, turn: batches_of_turn(
            lengths, chosen, size, turn
        ),
    )
    config = bigram.config()
    one = run(config, tmp_path / "one", {"site-00": HELD["site-02"]})
    two = run(config, tmp_path / "two", dict.fromkeys(("site-00", "site-01"), HELD["site-02"]))
    close(one.adapter, two.adapter)


def test_the_order_in_which_sites_are_named_or_answer_does_not_matter(tmp_path):
    class Backwards(InProcess):
        def exchange(self, messages, deadline=None):
            yield from reversed(list(super().exchange(messages, deadline)))

    config = bigram.config(sites=3)
    forward = run(config, tmp_path / "a")
    backward = run(config, tmp_path / "b", dict(reversed(HELD.items())), sites=sorted(HELD))
    late = run(config, tmp_path / "c", engine=Backwards)
    assert same(forward.adapter, backward.adapter)
    assert same(forward.adapter, late.adapter)
    assert forward.log == backward.log == late.log


def test_every_site_is_heard_in_proportion_to_its_examples(tmp_path):
    """One round from zero: the server moves by the mean of what sites made of it, by examples."""
    config = bigram.config(rounds=1, passes=2)
    found = run(config, tmp_path / "all")
    alone = {s: run(config, tmp_path / s, {s: HELD[s]}).adapter for s in HELD}
    total = sum(map(len, HELD.values()))
    close(found.adapter, {
        name: sum(alone[s][name] * len(HELD[s]) for s in HELD) / total for name in found.adapter
    })  # fmt: skip


def test_a_cohort_is_a_function_of_seed_and_round_alone():
    sites = [f"site-{i:02d}" for i in range(10)]
    config = bigram.config(participation=0.3, rounds=50)
    cohorts = [draw_cohort(config, sites, r) for r in range(50)]
    assert cohorts == [draw_cohort(config, sites, r) for r in range(50)]
    assert draw_cohort(config, sites, 7) == cohorts[7]
    assert all(len(c) == len(set(c)) == 3 and c == sorted(c) for c in cohorts)
    assert cohorts != [draw_cohort(replace_seed(config, 1), sites, r) for r in range(50)]
    counts = Counter(site for cohort in cohorts for site in cohort)
    assert min(counts[s] for s in sites) >= 5  # 15 expected


def replace_seed(config, seed):
    return config.model_copy(update={"seed": seed})


@pytest.mark.parametrize(("participation", "size"), [(1.0, 8), (0.5, 4), (0.1, 1), (0.01, 1)])
def test_a_cohort_has_the_share_that_was_asked_for_and_never_nobody(participation, size):
    sites = [f"site-{i}" for i in range(8)]
    assert len(draw_cohort(bigram.config(participation=participation), sites, 0)) == size


@pytest.mark.parametrize("participation", [1.0, 0.67, 0.34])
def test_examples_are_processed_passes_times_in_expectation(tmp_path, participation):
    config = bigram.config(rounds=24, passes=8, participation=participation)
    processed = Counter()

    class Counting(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                if header_of(reply)["kind"] == "update":
                    processed[site] += header_of(reply)["examples"]
                yield site, reply

    log = run(config, tmp_path, engine=Counting).log
    turns = Counter(site for record in log for site in record["cohort"])
    size = max(1, round(participation * 3))
    for site, sequences in HELD.items():
        expected = len(sequences) * 8 / (24 * size / 3) * turns[site]
        assert processed[site] == pytest.approx(expected, abs=1)
    assert sum(turns.values()) == 24 * size
    if participation == 1:
        assert processed == {site: 8 * len(held) for site, held in HELD.items()}


def test_counted_bytes_are_the_lengths_of_what_crossed(tmp_path):
    crossed = []

    class Tapped(InProcess):
        def exchange(self, messages, deadline=None):
            kind = header_of(next(iter(messages.values())))["kind"]
            up = 0
            for site, reply in super().exchange(messages, deadline):
                assert isinstance(reply, bytes)
                up += len(reply)
                yield site, reply
            crossed.append((kind, sum(map(len, messages.values())), up))

    log = run(bigram.config(rounds=2), tmp_path, engine=Tapped).log
    for record, training, validation in zip(log, crossed[::2], crossed[1::2], strict=True):
        assert training == ("train", record["bytes_down"], record["bytes_up"])
        assert validation[1] + validation[2] == record["bytes_validation"]
    values = sum(tensor.numel() for tensor in bigram.initial().values()) * 4
    assert log[0]["bytes_up"] > 3 * values


def test_half_precision_halves_what_the_values_weigh(tmp_path):
    whole, half = (
        run(bigram.config(codec=codec, codec_down=codec), tmp_path / codec).log
        for codec in ("fp32", "fp16")
    )
    values = sum(tensor.numel() for tensor in bigram.initial().values())
    assert whole[0]["bytes_up"] - half[0]["bytes_up"] == pytest.approx(3 * 2 * values, abs=60)
    assert whole[0]["bytes_down"] - half[0]["bytes_down"] == pytest.approx(3 * 2 * values, abs=60)


class Killed(Exception):
    pass


def killing(at, after, base=InProcess):
    """An engine whose process dies in its ``at``-th exchange, after ``after`` replies."""

    class Dying(base):
        calls = 0

        def exchange(self, messages, deadline=None):
            Dying.calls += 1
            for number, pair in enumerate(super().exchange(messages, deadline)):
                if Dying.calls > at and number == after:
                    raise Killed
                yield pair

    return Dying


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("exchange", range(6))  # training and validation of three rounds
def test_a_federation_killed_anywhere_goes_on_to_the_same_bits(tmp_path, exchange, after):
    config = bigram.config(passes=3)
    undisturbed = run(config, tmp_path / "whole")
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", engine=killing(exchange, after))
    resumed = run(config, tmp_path / "cut")
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log


def test_a_finished_federation_is_not_done_again(tmp_path):
    config = bigram.config()
    first = run(config, tmp_path)
    again = run(config, tmp_path, engine=killing(0, 0))
    assert same(first.adapter, again.adapter)
    assert first.log == again.log


def test_a_resumed_federation_repeats_no_finished_round(tmp_path):
    config = bigram.config(rounds=3)
    with pytest.raises(Killed):
        run(config, tmp_path, engine=killing(4, 1))
    asked = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            header = header_of(next(iter(messages.values())))
            asked.append((header["kind"], header["round"]))
            return super().exchange(messages, deadline)

    run(config, tmp_path, engine=Listening)
    assert asked == [("train", 2), ("validate", 2)]


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-3], lambda b: b"", lambda b: b[:60] + b"?" + b[61:]]
)
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, harm):
    run(bigram.config(), tmp_path)
    path = tmp_path / "server" / "checkpoint"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(FedbenchError, match="is damaged: remove it"):
        run(bigram.config(), tmp_path)


@pytest.mark.parametrize("header", [{}, {"log": []}, {"log": {}, "version": 0},
                                    {"log": [], "version": "0"}])  # fmt: skip
@pytest.mark.parametrize("state", ["state", "other"])
def test_a_checkpoint_that_is_whole_and_says_something_else_is_one_sentence(
    tmp_path, header, state
):
    (tmp_path / "server").mkdir()
    tensors = joined(**{state: bigram.initial()})
    keep(tmp_path / "server" / "checkpoint", header, tensors)
    with pytest.raises(FedbenchError, match="is damaged: remove it"):
        run(bigram.config(), tmp_path)


def failing(when, how):
    """An engine that does ``how`` to the replies of site-01 when ``when`` of the message holds."""

    class Failing(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                bad = site == "site-01" and when(header_of(messages[site]))
                yield site, how(reply) if bad else reply

    return Failing


def training_of_round_1(header):
    return (header["kind"], header["round"]) == ("train", 1)


def test_a_round_goes_on_without_a_site_that_fails_and_says_so(tmp_path, caplog):
    config = bigram.config(sites=3)
    engine = failing(training_of_round_1, lambda reply: Failure("It burnt down."))
    log = run(config, tmp_path, engine=engine).log
    assert [record.get("refused") for record in log] == [None, {"site-01": "It burnt down."}, None]
    assert [record["cohort"] for record in log][1] == ["site-00", "site-02"]
    assert "site-01 is refused, and the round goes on: It burnt down." in caplog.text


def test_a_round_without_any_update_changes_nothing(tmp_path):
    class Silent(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                lost = training_of_round_1(header_of(messages[site]))
                yield site, Failure("Nobody is there.") if lost else reply

    config = bigram.config(rounds=2)
    found = run(config, tmp_path, engine=Silent)
    after_one = [record["validation_loss"] for record in found.log]
    assert after_one[0] == after_one[1]
    assert found.log[1]["cohort"] == []


def test_a_federation_that_accepted_nothing_is_no_result(tmp_path):
    engine = failing(lambda header: header["kind"] == "train", lambda reply: Failure("Gone."))
    held = {"site-01": HELD["site-01"]}
    with pytest.raises(FedbenchError, match=r"Not one update was accepted in 3 rounds.*Gone\."):
        run(bigram.config(), tmp_path, held, engine)


def test_a_site_that_does_not_validate_is_left_out_of_the_score(tmp_path):
    engine = failing(lambda header: header["kind"] == "validate", lambda reply: Failure("Busy."))
    log = run(bigram.config(sites=3), tmp_path, engine=engine).log
    assert log[0]["unheard"] == {"site-01": "Busy."}
    assert log[0]["n_validation"] == 2


def test_progress_is_told_round_by_round(tmp_path):
    told = []
    config = bigram.config(rounds=4)
    contexts = bigram.contexts(HELD, config, tmp_path / "sites")
    done = federate(
        config, InProcess(contexts), list(HELD), bigram.initial(), tmp_path / "s", told.append
    )
    assert told == list(done.log)
    assert [record["round"] for record in told] == [0, 1, 2, 3]


# A rule with memory on every side: each site counts its turns and adds what it has counted; the
# server counts rounds. Any version of a site's memory but the right one shows in the result.


def _counting_upload(message, trained, state, work):
    turns = state.get("turns", torch.zeros(1)) + 1
    update = {name: trained[name] - got + 0.01 * turns for name, got in message.adapter.items()}
    return Contribution(update, float(work.examples)), {"turns": turns}


@pytest.fixture
def counting(monkeypatch):
    rule = replace(rule_of("fedavg"), name="counting", upload=_counting_upload)
    monkeypatch.setitem(RULES, "counting", lambda: rule)
    return "counting"


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("exchange", range(6))
def test_a_lost_upload_does_not_corrupt_what_a_site_remembers(tmp_path, counting, exchange, after):
    config = bigram.config(rule=counting, passes=3)
    undisturbed = run(config, tmp_path / "whole")
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", engine=killing(exchange, after))
    resumed = run(config, tmp_path / "cut")
    assert same(resumed.adapter, undisturbed.adapter)


def test_what_a_site_remembers_matters(tmp_path, counting):
    """Else the test above would hold for a loop that forgets."""
    remembering = run(bigram.config(rule=counting), tmp_path / "a")
    forgetting = run(bigram.config(), tmp_path / "b")
    mean = sum(0.01 * turn for turn in (1, 2, 3))
    drift = remembering.adapter["table"][6, 6] - forgetting.adapter["table"][6, 6]
    assert drift.item() == pytest.approx(mean, rel=0.2)


def test_a_site_counts_only_turns_that_were_accepted(tmp_path, counting):
    config = bigram.config(rule=counting, rounds=6, participation=0.34)
    found = run(config, tmp_path)
    for site in HELD:
        turns = [record["round"] for record in found.log if site in record["cohort"]]
        versions = sorted((tmp_path / "sites" / site).glob("*.state"))
        assert [int(path.stem) for path in versions] == turns
        counted = [kept(path)[1]["rule/turns"].item() for path in versions]
        assert counted == [1 + i for i in range(len(turns))]


def test_a_site_whose_uploads_are_all_refused_keeps_one_version(tmp_path):
    context = SimpleNamespace(folder=tmp_path, site="site")
    for round_ in range(5):
        state = {"rule/turns": torch.tensor([round_])}
        _save_state(context, {"round": round_, "accepted": -1}, state)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["00004.state"]


def test_versions_between_the_accepted_one_and_the_newest_are_removed(tmp_path):
    context = SimpleNamespace(folder=tmp_path, site="site")
    for round_, accepted in [(0, -1), (1, 0), (2, 0), (3, 0)]:
        state = {"rule/turns": torch.tensor([round_])}
        _save_state(context, {"round": round_, "accepted": accepted}, state)
    kept_ = sorted(path.name for path in (tmp_path / "site").iterdir())
    assert kept_ == ["00000.state", "00003.state"]


def test_a_rule_may_ask_for_every_contribution_in_the_order_of_sites(tmp_path, monkeypatch):
    heard = []

    def server(state, reduced):
        heard.append([c.weight for c in reduced])
        return state

    rule = replace(rule_of("fedavg"), reduce="each", server=server)
    monkeypatch.setitem(RULES, "each", lambda: rule)
    run(bigram.config(rule="each", rounds=2), tmp_path)
    assert heard == [[3.0, 2.0, 4.0]] * 2


def test_a_reply_carries_the_update_and_counts_and_nothing_else(tmp_path):
    config = bigram.config()
    context = bigram.contexts(HELD, config, tmp_path)["site-00"]
    message = rule_of("fedavg").broadcast(bigram.initial(), "site-00")
    reply = handle(context, asking(TRAIN | {"local_passes": 2.0}, message))
    header = header_of(reply)
    assert update_of(reply, message.adapter).keys() == message.adapter.keys()
    assert header.keys() == {"kind", "site", "round", "weight", "steps", "examples", "tokens",
                             "flops", "loss", "answers", "codec", "schema"}  # fmt: skip
    assert (header["weight"], header["examples"], header["steps"]) == (3.0, 6, 3)

    header, body = opened(handle(context, asking(VALIDATE, message)))
    assert bytes(body) == b""
    assert header.keys() == {"kind", "site", "n", "correct", "loss", "answers"}


def with_body(reply, change):
    header, body = opened(reply)
    return framed(header, change(bytes(body)))


NAN, INFINITY = (torch.tensor([value]).numpy().tobytes() for value in (math.nan, math.inf))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda r: r[:-1], "A payload was truncated or damaged"),
        (lambda r: b"", "not a payload of this version"),
        (lambda r: r + bytes(100_000), "bytes; .* are the most it can need"),
        (lambda r: changed(r, site="site-02"), "Its reply has site 'site-02', not 'site-01'"),
        (lambda r: changed(r, kind="score"), "Its reply has kind 'score', not 'update'"),
        (lambda r: changed(r, answers="0" * 16), "answers another message: it is a replay"),
        (lambda r: changed(r, steps="many"), "has steps of another kind, which is no number"),
        (lambda r: changed(r, loss=True), "has loss True, which is no number"),
        (lambda r: changed(r, weight=-1.0), "the weight -1.0, which none can have"),
        (lambda r: changed(r, weight=math.inf), "the weight inf, which none can have"),
        (lambda r: changed(r, weight=None), "the weight None, which none can have"),
        (lambda r: changed(r, codec="fp16"), "is written as 'fp16', not 'fp32'"),
        (lambda r: changed(r, schema="f" * 16), "does not consist of the tensors"),
        (lambda r: with_body(r, lambda b: b[:-4]), "tensors take 220 bytes, .* would take 224"),
        (lambda r: with_body(r, lambda b: b[:-4] + NAN), "is not finite: table holds nan or"),
        (lambda r: with_body(r, lambda b: b[:-4] + INFINITY), "is not finite: table holds nan or"),
    ],
)
def test_a_reply_that_cannot_be_used_is_refused_and_never_averaged_in(tmp_path, harm, reason):
    config = bigram.config(sites=3)
    log = run(config, tmp_path, engine=failing(training_of_round_1, harm)).log
    assert [site for record in log for site in record.get("refused", ())] == ["site-01"]
    assert re.search(reason, log[1]["refused"]["site-01"])
    assert log[1]["cohort"] == ["site-00", "site-02"]


def test_an_update_of_an_earlier_round_is_refused_even_under_todays_header(tmp_path):
    """The seal of the message that it answers is not that of today's."""
    sent = []

    class Replaying(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                if site == "site-01" and header_of(messages[site])["kind"] == "train":
                    sent.append(reply)
                    reply = changed(sent[0], round=header_of(messages[site])["round"])
                yield site, reply

    log = run(bigram.config(sites=3), tmp_path, engine=Replaying).log
    assert [sorted(record.get("refused", ())) for record in log] == [[], ["site-01"], ["site-01"]]


def test_a_site_that_answers_twice_is_heard_once(tmp_path, caplog):
    class Stuttering(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                yield site, reply
                yield site, reply

    config = bigram.config(sites=3)
    twice = run(config, tmp_path / "twice", engine=Stuttering)
    assert same(twice.adapter, run(config, tmp_path / "once").adapter)
    assert "A second answer of site-01 is ignored." in caplog.text


def test_what_a_refused_site_did_does_not_count_as_its_turn(tmp_path):
    turns = []

    class Listening(failing(training_of_round_1, lambda reply: reply[:-1])):
        def exchange(self, messages, deadline=None):
            if (header := header_of(messages["site-01"]))["kind"] == "train":
                turns.append((header["turn"], header["accepted"]))
            return super().exchange(messages, deadline)

    run(bigram.config(sites=3), tmp_path, engine=Listening)
    assert turns == [(0, -1), (1, 0), (1, 0)]


SMALL = {"adapter/table": torch.zeros(2), "adapter/bias": torch.zeros(2)}
HUGE = {"adapter/table": torch.zeros(1).expand(10_000)}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (written({k: v for k, v in TRAIN.items() if k != "turn"}, {}), "does not say turn"),
        (written(TRAIN, {"other/x": torch.zeros(1)}), "holds 'other/x', which belongs to no part"),
        (written(TRAIN, {}), "does not fit the model: these tensors are not"),
        (written(VALIDATE, SMALL), "does not fit the model: table has shape"),
        (written(VALIDATE, HUGE), "tells of 10000 numbers, and 224 are the most"),
        (changed(written(VALIDATE, SMALL), layout=None), "was not written by fedbench"),
        (changed(written(VALIDATE, SMALL), schema="0" * 16), "not the one that it names"),
        (
            framed({**VALIDATE, "codec": "fp32", "schema": "0" * 16}, b""),
            "refers to the schema 0000000000000000, which nobody has told here",
        ),
    ],
)
def test_a_payload_that_does_not_fit_is_a_failure_of_that_site(tmp_path, payload, message):
    contexts = bigram.contexts(HELD, bigram.config(), tmp_path)
    ((_, reply),) = InProcess(contexts).exchange({"site-00": payload})
    assert isinstance(reply, Failure)
    assert message in reply.reason


@pytest.mark.parametrize(
    "payload", [b"", b"nonsense", written({"kind": "dance"}, {}), written({}, {})]
)
def test_a_site_refuses_what_it_does_not_understand(tmp_path, payload):
    contexts = bigram.contexts(HELD, bigram.config(), tmp_path)
    with pytest.raises(BadPayload):
        handle(contexts["site-00"], payload)
    ((site, reply),) = InProcess(contexts).exchange({"site-00": payload})
    assert site == "site-00"
    assert isinstance(reply, Failure)


def test_the_loop_can_be_read_in_one_sitting():
    from pathlib import Path

    assert len(Path(federation.__file__).read_text().splitlines()) <= 150


def test_a_site_is_told_how_often_it_took_part_before(tmp_path):
    told = {site: [] for site in HELD}

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, payload in messages.items():
                header = header_of(payload)
                if header["kind"] == "train":
                    told[site].append(header["turn"])
            return super().exchange(messages, deadline)

    run(bigram.config(rounds=9, passes=3, participation=0.34), tmp_path, engine=Listening)
    assert all(turns == list(range(len(turns))) for turns in told.values())
    assert sum(map(len, told.values())) == 9


@pytest.mark.parametrize(
    "other", [{"learning_rate": 5.0}, {"codec": "fp16"}, {"optimizer": "sgd"}, {"gradient_clip": 9}]
)
def test_a_reply_of_another_run_is_refused_from_the_first_round_on(tmp_path, other):
    """Both runs begin with the same adapter and ask for the same work, other than it is done."""
    kept = {}

    class Recording(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                if header_of(messages[site])["kind"] == "train":
                    kept.setdefault(site, reply)
                yield site, reply

    class Replaying(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = header_of(messages[site])
                first = header["kind"] == "train" and header["round"] == 0
                yield site, kept[site] if first and site == "site-01" else reply

    run(bigram.config(**other), tmp_path / "other", engine=Recording)
    log = run(bigram.config(), tmp_path / "this", engine=Replaying).log
    assert "a replay, or of another run" in log[0]["refused"]["site-01"]
    assert log[0]["cohort"] == ["site-00", "site-02"]


def test_sums_over_sites_do_not_depend_on_who_answers_first():
    message = partial(rule_of("fedavg").broadcast, bigram.initial())
    asked = Messages({site: {"holds": -1, "knows": []} for site in "abc"}, message, bigram.config())
    told = {"kind": "score", "n": 1, "correct": 1}
    payloads = {
        site: written(told | {"site": site, "loss": loss, "answers": seal(asked[site])}, {})
        for site, loss in (("a", 1e16), ("b", 1.0), ("c", -1e16))
    }
    sums = []
    for order in ("abc", "cba", "acb"):
        answers = replies.heard(((site, payloads[site]) for site in order), asked, "score")
        sums.append(validation_record(asked, answers)["validation_loss"])
    assert len(set(sums)) == 1


def test_a_schema_is_told_to_each_site_once_and_what_it_takes_is_counted(tmp_path):
    told = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, payload in messages.items():
                told.append((site, "layout" in header_of(payload)))
            return super().exchange(messages, deadline)

    log = run(bigram.config(rounds=4, participation=0.34), tmp_path, engine=Listening).log
    assert sorted(site for site, whole in told if whole) == sorted(HELD)
    first, *later = (record["bytes_validation"] for record in log)
    assert first > max(later) + 2 * len(
        '"layout": [["adapter/bias", [7]], ["adapter/table", [7, 7]]]'
    )


def test_a_budget_of_bytes_is_never_exceeded_and_stops_the_rounds(tmp_path):
    whole = run(bigram.config(rounds=6), tmp_path / "whole").log
    costs = [spent(record) for record in whole]
    budget = sum(costs[:3]) + costs[3] // 2
    log = run(bigram.config(rounds=6, byte_budget=budget), tmp_path / "budget").log
    assert log == whole[:3]
    ample = sum(costs[:5]) + max(costs)
    assert run(bigram.config(rounds=6, byte_budget=ample), tmp_path / "all").log == whole
