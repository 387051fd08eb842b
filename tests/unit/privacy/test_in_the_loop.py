"""Private federations: what they cost, what they refuse, and that no interruption changes them."""

from __future__ import annotations

import errno

import pytest
import torch

from fedbench.cohorts import draw_cohort, expected_size
from fedbench.config import RunConfig
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError, Refused, refused
from fedbench.privacy import ledger
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.clipping import norm
from fedbench.privacy.per_example import poisson_batches
from fedbench.privacy.turn import WORK, releases
from fedbench.reduction import noise_of, release_of
from fedbench.resolving import resolve
from fedbench.rules import RULES, rule_of
from fedbench.site import handle, personal_adapter
from fedbench.wire import BadPayload, framed
from tests import bigram
from tests.payloads import TRAIN, VALIDATE, asking, header_of, update_of
from tests.unit.test_federation import HELD, Killed, failing, killing, run, same

SECURE = {"bound": 4.0, "greatest_weight": 1.0}
SITES = {"unit": "site", "clip": 0.5, "noise": 1.0}
EXAMPLES = {"unit": "example", "examples": 3, "clip": 0.5, "noise": 1.0}


def asked(privacy, **values):
    return bigram.config(**{"privacy": privacy, "sites": 3, **values})


def masked_examples():
    """Both at once: the budget is what two rounds cost, and no more."""
    return asked(EXAMPLES | {"noise": None, "epsilon": 8.0}, secure=SECURE, rounds=2)


def test_private_examples_under_masks_are_the_same_bits_twice(tmp_path):
    """Shares are sealed anew in every attempt; noise and batches do not see them."""
    first, second = (run(masked_examples(), tmp_path / name) for name in "ab")
    assert same(first.adapter, second.adapter)
    assert first.log == second.log


@pytest.mark.parametrize("exchange", range(8))
def test_private_examples_under_masks_end_with_the_same_bits_and_no_refusal_killed_anywhere(
    tmp_path, exchange
):
    undisturbed = run(masked_examples(), tmp_path / "whole")
    with pytest.raises(Killed):
        run(masked_examples(), tmp_path / "cut", engine=killing(exchange, 2))
    resumed = run(masked_examples(), tmp_path / "cut")
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log
    assert not any("refused" in record for record in resumed.log)


def test_a_site_whose_ledger_the_disk_refuses_ends_the_run_and_is_not_left_out(
    tmp_path, monkeypatch
):
    write = ledger.write_json

    def full(path, value):
        if path.parent.name == "site-01":
            raise refused(path, OSError(errno.ENOSPC, "No space left on device"))
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write_json", full)
        with pytest.raises(Refused, match=r"site-01/privacy\.json could not be written"):
            run(asked(EXAMPLES), tmp_path / "cut")
    undisturbed = run(asked(EXAMPLES), tmp_path / "whole")
    assert same(run(asked(EXAMPLES), tmp_path / "cut").adapter, undisturbed.adapter)


@pytest.mark.parametrize("privacy", [SITES, EXAMPLES])
@pytest.mark.parametrize("exchange", range(6))
def test_killed_anywhere_a_private_federation_ends_with_the_same_bits_and_epsilon(
    tmp_path, privacy, exchange
):
    undisturbed = run(asked(privacy), tmp_path / "whole")
    with pytest.raises(Killed):
        run(asked(privacy), tmp_path / "cut", engine=killing(exchange, 1))
    resumed = run(asked(privacy), tmp_path / "cut")
    assert same(resumed.adapter, undisturbed.adapter)
    assert resumed.log == undisturbed.log


def test_epsilon_of_sites_is_told_every_round_and_grows(tmp_path):
    log = run(asked(SITES), tmp_path).log
    expected = [epsilon([Releases(1.0, 1.0, n + 1)], 1e-5, "prv") for n in range(3)]
    assert [record["epsilon"] for record in log] == [dict.fromkeys(HELD, e) for e in expected]


def test_where_cohorts_have_a_fixed_size_a_site_spends_when_it_takes_part(tmp_path):
    log = run(asked(SITES, participation=0.34, rounds=5), tmp_path).log
    turns = dict.fromkeys(HELD, 0)
    for record in log:
        (site,) = record["cohort"]
        turns[site] += 1
        assert record["epsilon"] == {site: epsilon([Releases(1.0, 1.0, turns[site])], 1e-5, "prv")}


def test_poisson_cohorts_spend_alike_and_less_and_may_be_empty(tmp_path):
    config = asked(SITES, participation=0.34, rounds=8, sampling="poisson")
    log = run(config, tmp_path).log
    assert {len(record["cohort"]) for record in log} >= {0, 1}
    last = epsilon([Releases(1.0, 0.34, 8)], 1e-5, "prv")
    assert log[-1]["epsilon"] == dict.fromkeys(HELD, last)
    assert last < epsilon([Releases(1.0, 1.0, 8)], 1e-5, "prv")
    before = log[next(i for i, record in enumerate(log) if not record["cohort"])]
    assert "update_spread" in before


def test_poisson_cohorts_draw_each_site_by_itself():
    sites = [f"site-{n:02d}" for n in range(10)]
    config = bigram.config(participation=0.3, sampling="poisson", rounds=1)
    cohorts = [draw_cohort(config, sites, r) for r in range(3000)]
    sizes = torch.tensor([len(cohort) for cohort in cohorts], dtype=torch.float64)
    assert sizes.mean().item() == pytest.approx(3, abs=0.15)
    assert sizes.var().item() == pytest.approx(10 * 0.3 * 0.7, rel=0.1)
    assert expected_size(config, sites) == pytest.approx(3.0)


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_noise_for_a_budget_lets_all_rounds_happen_and_no_more(tmp_path, sampling):
    privacy = {"unit": "site", "clip": 0.5, "epsilon": 4.0}
    config = asked(privacy, rounds=6, participation=0.67, sampling=sampling)
    log = run(config, tmp_path).log
    assert len(log) == 6
    most = max(e for record in log for e in record["epsilon"].values())
    assert 3.9 < most <= 4.0
    assert noise_of(config, config.privacy, list(HELD)) > 1


def test_rounds_stop_when_the_budget_of_sites_is_spent(tmp_path):
    limit = epsilon([Releases(1.0, 1.0, 2)], 1e-5, "prv") * 1.01
    found = run(asked(SITES | {"epsilon": limit}, rounds=5), tmp_path)
    assert len(found.log) == 2
    assert max(found.log[-1]["epsilon"].values()) <= limit


@pytest.mark.parametrize("secure", [None, SECURE])
@pytest.mark.parametrize("rounds", [1, 2])
def test_rounds_stop_when_the_budget_of_examples_is_spent(tmp_path, rounds, secure):
    whole = run(asked(EXAMPLES, secure=secure), tmp_path / "all").log
    limit = max(whole[rounds - 1]["epsilon"].values()) * 1.01
    log = run(asked(EXAMPLES | {"epsilon": limit}, secure=secure), tmp_path / "some").log
    assert [record["epsilon"] for record in log] == [r["epsilon"] for r in whole[:rounds]]
    assert not any("refused" in record for record in log)


def test_the_budget_of_the_fastest_site_stops_the_rounds_of_all(tmp_path):
    partition = {"sites": 3, "slowest": 0.2}
    config = asked(EXAMPLES | {"examples": 20}, partition=partition)
    whole = run(config, tmp_path / "all").log
    assert whole[1]["epsilon"]["site-00"] > whole[1]["epsilon"]["site-02"]
    limit = whole[1]["epsilon"]["site-00"] * 1.01
    privacy = EXAMPLES | {"examples": 20, "epsilon": limit}
    log = run(asked(privacy, partition=partition), tmp_path / "some").log
    assert [record["epsilon"] for record in log] == [r["epsilon"] for r in whole[:2]]


def test_a_site_whose_budget_is_spent_sends_nothing_more(tmp_path):
    limit = epsilon([Releases(1.0, 0.5, 2)], 1e-5, "prv") * 1.01
    context = bigram.contexts(HELD, asked(EXAMPLES | {"epsilon": limit}), tmp_path)["site-00"]
    message = rule_of("fedavg").broadcast(bigram.initial(), "site-00")
    assert header_of(handle(context, asking(TRAIN, message)))["epsilon"] <= limit
    with pytest.raises(BadPayload, match="privacy budget of site-00 is spent"):
        handle(context, asking(TRAIN | {"round": 1}, message))


def test_where_others_are_heard_when_a_round_is_asked_again_the_budget_may_end_it_with_a_result(
    tmp_path,
):
    """The first attempt at the second round was written down, and is another release."""
    limit = epsilon([Releases(1.0, 1.0, 2)], 1e-5, "prv") * 1.01
    config = asked(SITES | {"epsilon": limit}, rounds=2)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", engine=killing(3, 0))  # as the second round is validated
    engine = failing(lambda header: header["kind"] == "train", lambda reply: reply[:-1])
    found = run(config, tmp_path / "cut", engine=engine)
    assert found.log == whole.log[:1]
    assert any(tensor.any() for tensor in found.adapter.values())


@pytest.mark.parametrize("privacy", [SITES, EXAMPLES])
def test_a_budget_that_no_round_is_within_is_refused_before_anybody_trains(tmp_path, privacy):
    config = asked(privacy | {"noise": 0.1, "epsilon": 0.5})
    with pytest.raises(FedbenchError, match=r"Not one round is within privacy.epsilon = 0.5"):
        run(config, tmp_path, engine=killing(0, 0))


def test_a_number_of_examples_is_never_a_weight(tmp_path):
    weights = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                weights.append(header_of(reply).get("weight"))
                yield site, reply

    run(asked(EXAMPLES, rounds=1), tmp_path, engine=Listening)
    assert weights == [1.0, 1.0, 1.0, None, None, None]


def test_nothing_but_the_noised_update_tells_of_private_examples(tmp_path):
    context = bigram.contexts(HELD, asked(EXAMPLES), tmp_path)["site-00"]
    message = rule_of("fedavg").broadcast(bigram.initial(), "site-00")
    header = header_of(handle(context, asking(TRAIN, message)))
    assert header.keys() == {"kind", "site", "round", "steps", "epsilon", "weight", "answers",
                             "codec", "schema"}  # fmt: skip
    log = run(asked(EXAMPLES, rounds=1), tmp_path / "run").log
    assert {log[0][name] for name in ("examples", "tokens", "flops", "train_loss")} == {None}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"privacy": EXAMPLES}, {"steps", "epsilon"}),
        ({"privacy": EXAMPLES | {"noise": None, "epsilon": 8.0}}, {"steps", "epsilon"}),
        ({"privacy": SITES}, set()),
        ({"secure": SECURE, "privacy": EXAMPLES}, {"steps", "epsilon"}),
        ({"secure": SECURE | {"greatest_weight": 8.0}, "privacy": None}, set()),
    ],
)
def test_headers_and_log_say_the_same_whether_a_site_holds_one_example_more(tmp_path, values, told):
    """They follow from the configuration, and from no private count; only scores do not."""

    def federation(name, held):
        headers = []

        class Listening(InProcess):
            def exchange(self, messages, deadline=None):
                for site, reply in super().exchange(messages, deadline):
                    if header_of(reply)["kind"] == "update":
                        headers.append(header_of(reply))
                    yield site, reply

        return headers, run(asked(**values), tmp_path / name, held, Listening).log

    def without(records, *names):
        return [{n: v for n, v in one.items() if n not in names} for one in records]

    more = HELD | {"site-01": [*HELD["site-01"], *bigram.sequences((5, 2))]}
    (headers, log), (others, other) = federation("a", HELD), federation("b", more)
    assert headers
    assert all(told == header.keys() & {"steps", "epsilon", *WORK} for header in headers)
    # After the first round, a message's own seal says what was released before it.
    assert without(headers, "answers") == without(others, "answers")
    scores = ("validation_loss", "validation_accuracy", "update_spread", "bytes_validation")
    assert without(log, *scores) == without(other, *scores)
    assert {record["steps"] for record in log} == ({3 * 3} if "steps" in told else {None})


@pytest.mark.parametrize("batch_size", [1, 7, 8, 72, 100])
@pytest.mark.parametrize("passes", [0.01, 0.5, 1.0, 2.4])
def test_passes_come_out_as_asked_for_and_batches_nearly_so(batch_size, passes):
    config = asked(EXAMPLES | {"examples": 72}, batch_size=batch_size)
    _, rate, steps = releases(config, config.privacy, {"local_passes": passes})
    assert steps >= 1
    assert rate <= 1
    assert rate * steps == pytest.approx(passes)
    assert abs(steps - passes * 72 / batch_size) <= 1 or rate * 72 < batch_size


def test_without_passes_of_its_own_a_site_keeps_what_it_had_and_no_noise_is_added(tmp_path):
    config = asked(EXAMPLES)
    context = bigram.contexts(HELD, config, tmp_path)["site-00"]
    given = {name: tensor + 0.5 for name, tensor in bigram.initial().items()}
    message = rule_of("fedavg").broadcast(given, "site-00")
    handle(context, asking(TRAIN | {"kind": "personalise", "local_passes": 0.0}, message))
    assert same(personal_adapter(tmp_path, "site-00"), given)
    reply = handle(context, asking(TRAIN | {"local_passes": 0.0}, message))
    assert not any(tensor.any() for tensor in update_of(reply, given).values())
    assert "epsilon" not in header_of(reply)


@pytest.mark.parametrize("held", [3, 24, 48])
def test_an_example_is_processed_as_often_as_asked_for_whatever_a_site_really_holds(held):
    config = asked(EXAMPLES | {"examples": 24}, batch_size=3)
    _, rate, steps = releases(config, config.privacy, {"local_passes": 2.0})
    assert (rate, steps) == (1 / 8, 16)
    drawn = [poisson_batches(held, rate, steps, held, n) for n in range(400)]
    each = sum(len(batch) for batches in drawn for batch in batches) / len(drawn) / held
    assert each == pytest.approx(2.0, rel=0.05)


def test_a_step_is_divided_by_a_public_number_so_that_who_holds_more_moves_further(tmp_path):
    """With hardly any noise, twice the same examples make twice the sum of their gradients."""
    privacy = EXAMPLES | {"examples": 2, "clip": 100.0, "noise": 1e-6}
    config = asked(privacy, rounds=1, passes=1, optimizer="sgd", gradient_clip=1e9, warmup=0)
    moves = [
        norm(run(config, tmp_path / str(n), {"site-00": bigram.sequences(*[(1, 2)] * n)}).adapter)
        for n in (1, 2, 4)
    ]
    assert moves == pytest.approx([moves[0], 2 * moves[0], 4 * moves[0]], rel=1e-3)


def test_two_messages_of_one_round_are_two_releases_under_two_noises(tmp_path):
    """Under the same noise, the difference of two answers would be free of it."""
    context = bigram.contexts(HELD, asked(EXAMPLES), tmp_path)["site-00"]
    first = bigram.initial()
    second = {name: tensor + 1e-3 for name, tensor in first.items()}
    replies = [
        handle(context, asking(TRAIN, rule_of("fedavg").broadcast(told, "site-00")))
        for told in (first, first, second)
    ]
    spent = [header_of(reply)["epsilon"] for reply in replies]
    assert replies[0] == replies[1]
    assert spent[0] == spent[1] < spent[2]
    update, _, other = (update_of(reply, first) for reply in replies)
    assert norm({n: update[n] - other[n] for n in first}) > 0.3 * norm(update)


def test_what_a_site_held_is_part_of_what_its_noise_is_keyed_by(tmp_path):
    """A message that only says "as before" stands for other tensors once others came before."""
    context = bigram.contexts(HELD, asked(EXAMPLES, codec_down="delta+fp32"), tmp_path)["site-00"]
    first = bigram.initial()
    second = {name: tensor + 1e-3 for name, tensor in first.items()}
    updates = []
    for told in (first, second):
        handle(context, asking(VALIDATE, rule_of("fedavg").broadcast(told, "site-00")))
        again = framed(TRAIN | {"form": "same", "holds": 0, "schema": "", "codec": "fp32"}, b"")
        updates.append(update_of(handle(context, again), first))
    apart = {name: updates[0][name] - updates[1][name] for name in first}
    assert norm(apart) > 0.3 * norm(updates[0])


def test_other_sites_heard_in_the_same_round_are_another_release_under_other_noise():
    names = {release_of(3, heard) for heard in (("a", "b"), ("a",), ())} | {release_of(4, ("a",))}
    assert len(names) == 4


def test_with_a_wide_limit_and_hardly_any_noise_it_is_the_plain_mean_of_updates(tmp_path):
    held = {f"site-{n:02d}": bigram.sequences((n + 1, n + 2), (2, n)) for n in range(3)}
    plain = run(asked(None), tmp_path / "plain", held)
    wide = run(asked({"unit": "site", "clip": 10, "noise": 1e-6}), tmp_path / "wide", held)
    for name, tensor in plain.adapter.items():
        torch.testing.assert_close(wide.adapter[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_privacy_of_sites_goes_with_rules_that_add_up_updates_and_no_others(rule):
    alone = rule in ("median", "trimmed-mean", "krum", "geometric-median", "norm-clipping",
                     "outlier-weighting", "flexlora", "flora", "fedex-lora")  # fmt: skip
    more = rule in ("scaffold", "fednova", "hetlora", "majority-vote")
    optimizer = "sgd" if rule in ("scaffold", "fednova") else "adamw"
    values = {"task": "lookalike_fpb", "rule": rule, "privacy": SITES, "optimizer": optimizer}
    if alone or more:
        with pytest.raises(FedbenchError, match=f"no meaning under {rule_of(rule).name}"):
            resolve(RunConfig(**values))
    else:
        assert resolve(RunConfig(**values)).privacy.unit == "site"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"privacy": {"unit": "site", "clip": 1.0}}, "one of them must say how much noise"),
        ({"privacy": {"unit": "site", "clip": 0, "noise": 1}}, "privacy.clip = 0"),
        ({"privacy": SITES, "setting": "centralized"}, "no meaning in the setting centralized"),
        ({"privacy": SITES, "partition": {"ranks": (4,)}}, "not derived for sites of unequal"),
        ({"privacy": EXAMPLES, "dropout": 0.1}, "take dropout = 0"),
        ({"privacy": EXAMPLES | {"examples": None}}, "so is how many a site holds; say how many"),
        ({"privacy": EXAMPLES | {"examples": 0}}, "privacy.examples = 0"),
        ({"privacy": SITES | {"examples": 9}}, "examples has no meaning where sites are private"),
        (
            {"sampling": "poisson", "validated_by": "cohort", "participation": 0.5},
            "may draw nobody",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(values, reason):
    with pytest.raises(FedbenchError, match=reason):
        resolve(RunConfig(task="lookalike_fpb", **values))
