"""What a site's data have spent adds up over runs, and no configuration makes it less."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from fedbench.deployment.lifetime import LEDGER, foreseen, spend_of_life, spent_of_life
from fedbench.deployment.policy import SitePolicy
from fedbench.errors import Damaged, FedbenchError
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.ledger import BudgetSpent
from fedbench.privacy.turn import releases
from fedbench.resolving import checked
from fedbench.wire import BadPayload

POLICY = SitePolicy(epsilon=100.0)
DATA = "d" * 64


def run(noise=2.0, rounds=4, **values):
    privacy = {"unit": "example", "clip": 1.0, "noise": noise, "examples": 100}
    return checked(
        {"task": "lookalike_fpb", "passes": 4, "rounds": rounds, "privacy": privacy, **values}
    )


def message(round_=0, passes=1.0):
    header = {"kind": "train", "round": round_, "turn": round_, "version": round_, "accepted": -1}
    return header | {
        "holds": -1, "form": "whole", "local_passes": passes, "progress": [0.0, 0.5]
    }  # fmt: skip


def spend(folder, config, header, policy=POLICY):
    return spend_of_life(folder, policy, config, header, DATA)


def cost(config, header=None):
    return releases(config, config.private("example"), header or message())


def of_all(made, delta=POLICY.delta):
    return epsilon(made, delta, "rdp")


def test_turns_of_runs_with_other_noise_and_rate_are_composed_as_if_they_were_one(tmp_path):
    first, second = run(noise=2.0), run(noise=0.8, batch_size=4, rounds=2, seed=1)
    made = []
    for config, round_ in ((first, 0), (second, 0), (first, 1), (second, 1)):
        made.append(cost(config))
        now = spend(tmp_path, config, message(round_))
        # Those of one kind together, as far as the last digits go.
        assert now == pytest.approx(of_all(made), rel=1e-9)
    assert spent_of_life(tmp_path, POLICY) == now
    assert len({(one.noise, one.rate) for one in made}) == 2


def test_a_turn_that_is_asked_for_again_costs_again(tmp_path):
    """With noise from the operating system, two answers to one message tell twice."""
    config = run()
    once = spend(tmp_path, config, message())
    twice = spend(tmp_path, config, message())
    assert twice == of_all([cost(config)._replace(times=2 * cost(config).times)]) > once


def test_the_delta_is_that_of_the_policy(tmp_path):
    config = run()
    strict = SitePolicy(epsilon=100.0, delta=1e-7)
    spend(tmp_path, config, message())
    assert spent_of_life(tmp_path, strict) == of_all([cost(config)], 1e-7)
    assert spent_of_life(tmp_path, strict) > spent_of_life(tmp_path, POLICY)


def test_a_turn_beyond_the_budget_is_refused_in_words_and_leaves_no_trace(tmp_path):
    config = run()
    now = spend(tmp_path, config, message())
    content = (tmp_path / LEDGER).read_bytes()
    tight = SitePolicy(epsilon=now * 1.01)
    after = of_all([cost(config)._replace(times=2 * cost(config).times)])
    with pytest.raises(BudgetSpent) as caught:
        spend(tmp_path, config, message(1), tight)
    said = str(caught.value)
    assert f"from {now:.3f} to {after:.3f} at delta 1e-05" in said
    assert "whole life" in said
    assert "Nothing was sent" in said
    assert (tmp_path / LEDGER).read_bytes() == content
    # A turn that costs less still fits in.
    assert now < spend(tmp_path, run(noise=50.0), message(1), tight) <= now * 1.01


def test_another_seed_or_name_of_a_run_does_not_begin_anew(tmp_path):
    config = run()
    spend(tmp_path, config, message())
    two = spend(tmp_path, run(seed=7, learning_rate=1e-4), message())
    assert two == of_all([cost(config)._replace(times=2 * cost(config).times)])


def test_other_data_of_the_same_folder_do_not_begin_anew(tmp_path):
    config = run()
    first = spend_of_life(tmp_path, POLICY, config, message(), "a" * 64)
    assert spend_of_life(tmp_path, POLICY, config, message(), "b" * 64) > first


def test_without_a_bound_it_is_counted_all_the_same(tmp_path):
    assert spent_of_life(tmp_path, SitePolicy()) is None
    found = spend(tmp_path, run(), message(), SitePolicy())
    assert found == spent_of_life(tmp_path, SitePolicy()) > 0


def test_a_turn_without_a_pass_costs_nothing_and_is_not_written(tmp_path):
    assert spend(tmp_path, run(), message(passes=0)) == 0
    assert spent_of_life(tmp_path, POLICY) is None


def test_a_turn_that_cannot_be_counted_is_refused(tmp_path):
    with pytest.raises(FedbenchError, match="without privacy of examples has no epsilon"):
        spend(tmp_path, checked({"task": "lookalike_fpb"}), message(passes=5 / 5))
    for odd in ({"local_passes": float("nan")}, {"local_passes": "1"}, {"local_passes": 10**6}):
        with pytest.raises(BadPayload):
            spend(tmp_path, run(), message() | odd)
    assert spent_of_life(tmp_path, POLICY) is None


@pytest.mark.parametrize("harm", [b"", b"{}x", b'{"a": 3}'])
def test_a_damaged_ledger_is_refused_and_not_begun_anew(tmp_path, harm):
    spend(tmp_path, run(), message())
    (tmp_path / LEDGER).write_bytes(harm)
    for what in (
        lambda: spend(tmp_path, run(), message(1)),
        lambda: spent_of_life(tmp_path, POLICY),
        lambda: foreseen(tmp_path, POLICY, run(), 4),
    ):
        with pytest.raises(Damaged, match="restore it from a backup"):
            what()


def test_what_a_run_will_have_spent_is_foreseen(tmp_path):
    before, config = run(noise=1.5), run()
    spend(tmp_path, before, message())
    ahead = foreseen(tmp_path, POLICY, config, 4)
    assert spent_of_life(tmp_path, POLICY) == of_all([cost(before)])
    for round_ in range(config.rounds):
        now = spend(tmp_path, config, message(round_))
    assert now == pytest.approx(ahead, rel=1e-9)
    assert foreseen(tmp_path, POLICY, checked({"task": "lookalike_fpb"}), 4) is None


def test_what_a_run_has_spent_already_is_not_foreseen_twice(tmp_path):
    """Else a run that was stopped in the middle were refused when it goes on."""
    before, config = run(noise=1.5), run()
    spend(tmp_path, before, message())
    ahead = foreseen(tmp_path, POLICY, config, 4)
    for round_ in range(config.rounds):
        spend(tmp_path, config, message(round_))
        assert foreseen(tmp_path, POLICY, config, 4) == ahead
    # A turn done twice costs twice, and a run of another name comes on top.
    more = spend(tmp_path, config, message(config.rounds - 1))
    assert foreseen(tmp_path, POLICY, config, 4) == pytest.approx(more, rel=1e-9)
    assert foreseen(tmp_path, POLICY, run(seed=9), 4) > more > ahead


def test_of_a_run_that_draws_some_sites_every_round_is_foreseen(tmp_path):
    config = run(participation=0.5)
    turn = cost(config, message(passes=2.0))
    expected = of_all([Releases(turn.noise, turn.rate, turn.times * 4)])
    assert foreseen(tmp_path, POLICY, config, 4) == expected


@pytest.mark.slow
def test_two_federations_at_once_forget_nothing(tmp_path):
    code = f"""
        from pathlib import Path
        from tests.unit.deployment.test_lifetime import message, run, spend
        for round_ in range(4):
            spend(Path({str(tmp_path)!r}), run(), message(round_))
        """
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    made = cost(run())
    assert spent_of_life(tmp_path, POLICY) == of_all([made._replace(times=8 * made.times)])
