"""The loop over real payloads: one site is plain training, and no interruption leaves a trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from fedbench import federation, replies
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.federation import draw_cohort, federate
from fedbench.round_log import validation_record
from fedbench.rules import RULES, rule_of
from fedbench.rules.rule import Contribution
from fedbench.site import handle, message_payload
from fedbench.train import LocalObjective, batches_of_turn, examples_of_turn, train
from fedbench.wire import BadPayload, decode, encode
from tests import bigram

HELD = {
    "site-00": bigram.sequences((1, 2), (1, 2), (3, 4)),
    "site-01": bigram.sequences((1, 5), (2, 3)),
    "site-02": bigram.sequences((4, 5), (5, 1), (2, 2), (3, 3)),
}


def run(config, folder, held=None, engine=InProcess, sites=None):
    held = HELD if held is None else held
    contexts = bigram.contexts(held, config, folder / "sites")
    sites = list(held) if sites is None else sites
    return federate(config, engine(contexts), sites, bigram.initial(), folder / "server")


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
                if decode(reply)[0]["kind"] == "update":
                    processed[site] += decode(reply)[0]["examples"]
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
            kind = decode(next(iter(messages.values())))[0]["kind"]
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
        run(bigram.config(codec=codec), tmp_path / codec).log for codec in ("fp32", "fp16")
    )
    values = sum(tensor.numel() for tensor in bigram.initial().values())
    assert whole[0]["bytes_up"] - half[0]["bytes_up"] == pytest.approx(3 * 2 * values, abs=60)
    assert whole[0]["bytes_down"] - half[0]["bytes_down"] == pytest.approx(3 * 2 * values, abs=60)


class Killed(Exception):
    pass


def killing(at, after):
    """An engine whose process dies in its ``at``-th exchange, after ``after`` replies."""

    class Dying(InProcess):
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
            header = decode(next(iter(messages.values())))[0]
            asked.append(header.get("round"))
            return super().exchange(messages, deadline)

    run(config, tmp_path, engine=Listening)
    assert asked == [2, None]


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-3], lambda b: b"", lambda b: b[:60] + b"?" + b[61:]]
)
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, harm):
    run(bigram.config(), tmp_path)
    path = tmp_path / "server" / "checkpoint"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(FedbenchError, match="is damaged: remove it"):
        run(bigram.config(), tmp_path)


def test_a_site_that_fails_is_named_and_the_last_checkpoint_stays(tmp_path):
    config = bigram.config(sites=3)

    class Failing(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = decode(messages[site])[0]
                bad = header.get("round") == 1 and site == "site-01"
                yield site, Failure("It burnt down.") if bad else reply

    with pytest.raises(FedbenchError, match="site-01 did not answer: It burnt down"):
        run(config, tmp_path, engine=Failing)
    assert len(decode((tmp_path / "server" / "checkpoint").read_bytes())[0]["log"]) == 1
    assert same(run(config, tmp_path).adapter, run(config, tmp_path / "whole").adapter)


def test_progress_is_told_round_by_round(tmp_path):
    told = []
    config = bigram.config(rounds=4)
    contexts = bigram.contexts(HELD, config, tmp_path / "sites")
    federate(config, InProcess(contexts), list(HELD), bigram.initial(), tmp_path / "s", told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


# A rule with memory on every side: each site counts its turns and adds what it has counted; the
# server counts rounds. Any version of a site's memory but the right one shows in the result.


def _counting_upload(message, trained, state, examples):
    turns = state.get("turns", torch.zeros(1)) + 1
    update = {name: trained[name] - got + 0.01 * turns for name, got in message.adapter.items()}
    return Contribution(update, float(examples)), {"turns": turns}


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
        kept = [decode(path.read_bytes())[1]["turns"].item() for path in versions]
        assert kept == [1 + i for i in range(len(turns))]


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
    asked = {"kind": "train", "round": 0, "turn": 0, "accepted": -1,
             "local_passes": 2.0, "progress": [0.0, 1.0]}  # fmt: skip
    header, tensors = decode(handle(context, message_payload(asked, message, "fp32")))
    assert tensors.keys() == message.adapter.keys()
    assert header.keys() == {"kind", "site", "round", "weight", "steps", "examples", "tokens",
                             "flops", "loss", "codec"}  # fmt: skip
    assert (header["weight"], header["examples"], header["steps"]) == (3.0, 6, 3)

    header, tensors = decode(
        handle(context, message_payload({"kind": "validate"}, message, "fp32"))
    )
    assert tensors == {}
    assert header.keys() == {"kind", "site", "n", "correct", "loss", "codec"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"round": 4}, r"site-01 did not answer: Its reply has round 4, not 1\."),
        ({"site": "site-02"}, r"site-01 did not answer: Its reply has site 'site-02'"),
        ({"kind": "score"}, r"site-01 did not answer: Its reply has kind 'score', not 'update'"),
        (None, r"site-01 did not answer: A payload was truncated or damaged"),
    ],
)
def test_a_reply_to_something_else_is_never_averaged_in(tmp_path, changes, message):
    class Late(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                asked = decode(messages[site])[0]
                if site == "site-01" and asked.get("round") == 1:
                    header, tensors = decode(reply)
                    reply = reply[:-1] if changes is None else encode(header | changes, tensors)
                yield site, reply

    with pytest.raises(FedbenchError, match=message):
        run(bigram.config(sites=3), tmp_path, engine=Late)
    assert len(decode((tmp_path / "server" / "checkpoint").read_bytes())[0]["log"]) == 1


TRAIN = {"kind": "train", "round": 0, "turn": 0, "accepted": -1, "local_passes": 1.0,
         "progress": [0.0, 1.0]}  # fmt: skip
SMALL = {"adapter/table": torch.zeros(2), "adapter/bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (encode({k: v for k, v in TRAIN.items() if k != "turn"}, {}), "does not say turn"),
        (encode(TRAIN, {"other/x": torch.zeros(1)}), "holds other/x, which belongs to no part"),
        (encode(TRAIN, {}), "does not fit the model: these tensors are not"),
        (encode({"kind": "validate"}, SMALL), "does not fit the model: table has shape"),
    ],
)
def test_a_payload_that_does_not_fit_is_a_failure_of_that_site(tmp_path, payload, message):
    contexts = bigram.contexts(HELD, bigram.config(), tmp_path)
    ((_, reply),) = InProcess(contexts).exchange({"site-00": payload})
    assert isinstance(reply, Failure)
    assert message in reply.reason


@pytest.mark.parametrize(
    "payload", [b"", b"nonsense", encode({"kind": "dance"}, {}), encode({}, {})]
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
                header = decode(payload)[0]
                if header["kind"] == "train":
                    told[site].append(header["turn"])
            return super().exchange(messages, deadline)

    run(bigram.config(rounds=9, passes=3, participation=0.34), tmp_path, engine=Listening)
    assert all(turns == list(range(len(turns))) for turns in told.values())
    assert sum(map(len, told.values())) == 9


def test_sums_over_sites_do_not_depend_on_who_answers_first():
    payloads = {
        site: encode({"kind": "score", "site": site, "n": 1, "correct": 1, "loss": loss}, {})
        for site, loss in (("a", 1e16), ("b", 1.0), ("c", -1e16))
    }
    orders = ("abc", "cba", "acb")
    sums = []
    for order in orders:
        answers = replies.scores((site, payloads[site]) for site in order)
        sums.append(validation_record(0, answers)["validation_loss"])
    assert len(set(sums)) == 1
