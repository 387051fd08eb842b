"""Where the chance of privacy comes from, and that real chance repeats nothing.

A test of real chance fails by chance with a probability below 1e-9, which its bounds are made for.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from fedbench.cohorts import draw_cohort
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.chance import REAL, SIMULATED
from fedbench.privacy.clipping import norm
from fedbench.privacy.ledger import LEDGER
from fedbench.privacy.per_example import poisson_batches
from fedbench.rules import rule_of
from fedbench.site import handle
from fedbench.streams import generator
from tests import bigram
from tests.payloads import TRAIN, asking, header_of, update_of
from tests.unit.privacy.test_in_the_loop import EXAMPLES, SECURE, SITES, asked
from tests.unit.test_federation import HELD, Killed, killing, run, same

NUMBERS = 200_000
NEVER = 1e-11  #: a probability; several tests of it stay below 1e-9


def far(count):
    """How far the mean of so many independent numbers from [0, 1] never lies off (Hoeffding)."""
    return math.sqrt(math.log(2 / NEVER) / (2 * count))


def test_simulated_chance_is_the_stream_of_its_name_and_key():
    noise, sample = SIMULATED.noise(3, "site-00", 1), SIMULATED.sample("private-batches", 3, "a")
    expected = generator("privacy-noise", 3, "site-00", 1).standard_normal(9)
    assert np.array_equal(np.concatenate([noise(4), noise(5)]), expected)
    expected = generator("private-batches", 3, "a").random(9)
    assert np.array_equal(np.concatenate([sample(4), sample(5)]), expected)
    assert SIMULATED.release("0f") == "0f"


def test_simulated_batches_and_cohorts_are_drawn_as_ever():
    random = generator("private-batches", 0, "site")
    expected = [np.flatnonzero(random.random(30) < 0.3).tolist() for _ in range(5)]
    assert poisson_batches(30, 0.3, 5, 0, "site") == expected
    config = asked(SITES, sampling="poisson", participation=0.4)
    sites = [f"site-{n:02d}" for n in range(20)]
    drawn = generator("cohort", config.seed, 4).random(20) < 0.4
    assert draw_cohort(config, sites, 4) == [sites[i] for i in np.flatnonzero(drawn)]


def test_real_samples_are_independent_and_uniform():
    numbers = REAL.sample("private-batches", 0)(NUMBERS)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert kstest(numbers, "uniform").pvalue > NEVER
    assert abs(numbers.mean() - 0.5) < far(NUMBERS)
    pairs = numbers[::2] * numbers[1::2]
    assert abs(pairs.mean() - 0.25) < far(len(pairs))


def test_real_noise_is_independent_standard_normal():
    numbers = REAL.noise(0, "site-00")(NUMBERS)
    assert kstest(numbers, "norm").pvalue > NEVER
    assert abs(numbers.mean()) < 7 / math.sqrt(NUMBERS)
    squares = (numbers**2).sum()
    assert chi2.ppf(NEVER, NUMBERS) < squares < chi2.isf(NEVER, NUMBERS)
    alike = (numbers[::2] > 0) == (numbers[1::2] > 0)
    assert abs(alike.mean() - 0.5) < far(len(alike))


def test_real_batches_hold_every_example_with_the_rate_that_is_accounted_for():
    batches = poisson_batches(20, 0.3, 5000, 0, sample=REAL.sample)
    counts = np.bincount([i for batch in batches for i in batch], minlength=20)
    assert (abs(counts / 5000 - 0.3) < far(5000)).all()


def test_real_chance_is_other_at_every_call_under_the_same_key():
    assert not np.array_equal(REAL.noise(0, "a")(50), REAL.noise(0, "a")(50))
    assert not np.array_equal(REAL.sample("cohort", 0)(50), REAL.sample("cohort", 0)(50))
    batches = [poisson_batches(60, 0.5, 9, 0, "a", sample=REAL.sample) for _ in range(2)]
    assert batches[0] != batches[1]
    names = {REAL.release("0f") for _ in range(9)}
    assert len(names) == 9
    assert all(name.startswith("0f+") for name in names)


def test_cohorts_are_drawn_in_secret_only_where_that_is_counted_as_protection():
    sites = [f"site-{n:03d}" for n in range(200)]
    poisson = {"sampling": "poisson", "participation": 0.5}
    secret = asked(SITES, **poisson)
    cohorts = [draw_cohort(secret, sites, 0, REAL.sample) for _ in range(2)]
    assert cohorts[0] != cohorts[1]
    assert all(abs(len(cohort) / 200 - 0.5) < far(200) for cohort in cohorts)
    for config in (asked(EXAMPLES, **poisson), asked(SITES, participation=0.5)):
        assert draw_cohort(config, sites, 0, REAL.sample) == draw_cohort(config, sites, 0)


def ledger(folder, site):
    return json.loads((folder / site / LEDGER).read_text())


@pytest.mark.parametrize(("chance", "releases"), [(SIMULATED, 1), (REAL, 2)])
def test_the_same_turn_done_again_is_a_release_of_its_own_if_its_noise_is_real(
    tmp_path, chance, releases
):
    context = bigram.contexts(HELD, asked(EXAMPLES), tmp_path)["site-00"]
    context = replace(context, chance=chance)
    message = asking(TRAIN, rule_of("fedavg").broadcast(bigram.initial(), "site-00"))
    replies = [handle(context, message) for _ in range(2)]
    assert (replies[0] == replies[1]) == (releases == 1)
    spent = [header_of(reply)["epsilon"] for reply in replies]
    one, two = (epsilon([Releases(1.0, 0.5, 2 * n)], 1e-5, "prv") for n in (1, 2))
    assert spent == [one, two if releases == 2 else one]
    assert len(ledger(tmp_path, "site-00").keys() - {"sha256"}) == releases


def test_real_noise_and_not_only_a_real_sample_is_in_an_update(tmp_path):
    """With a rate of 1 both turns have the same batches."""
    config = asked(EXAMPLES | {"examples": 3}, batch_size=3)
    context = bigram.contexts(HELD, config, tmp_path)["site-00"]
    context = replace(context, chance=replace(SIMULATED, noise=REAL.noise))
    first = bigram.initial()
    message = asking(TRAIN, rule_of("fedavg").broadcast(first, "site-00"))
    updates = [update_of(handle(context, message), first) for _ in range(2)]
    assert norm({n: updates[0][n] - updates[1][n] for n in first}) > 0.1 * norm(updates[0])


def test_a_real_sample_and_not_only_real_noise_is_in_an_update(tmp_path):
    """Of so many examples no two draws are alike; the noise is simulated, and hardly any."""
    held = {"site-00": bigram.sequences(*[(n % 7, n // 7) for n in range(42)])}
    config = asked(EXAMPLES | {"examples": 42, "noise": 1e-6}, batch_size=21, optimizer="sgd")
    context = bigram.contexts(held, config, tmp_path)["site-00"]
    context = replace(context, chance=replace(SIMULATED, sample=REAL.sample))
    first = bigram.initial()
    message = asking(TRAIN, rule_of("fedavg").broadcast(first, "site-00"))
    updates = [update_of(handle(context, message), first) for _ in range(2)]
    assert norm({n: updates[0][n] - updates[1][n] for n in first}) > 1e-2 * norm(updates[0])


def test_a_server_draws_poisson_cohorts_of_private_sites_in_secret(tmp_path):
    held = {f"site-{n:02d}": bigram.sequences((1, 2)) for n in range(40)}
    values = {"sampling": "poisson", "participation": 0.5, "rounds": 1, "sites": 40}
    cohorts = {}
    for name, privacy in {"sites": SITES, "examples": EXAMPLES}.items():
        log = run(asked(privacy, **values), tmp_path / name, held, chance=REAL).log
        cohorts[name] = log[0]["cohort"]
    assert cohorts["sites"] != draw_cohort(asked(SITES, **values), list(held), 0)
    assert cohorts["examples"] == draw_cohort(asked(EXAMPLES, **values), list(held), 0)


@pytest.mark.parametrize("secure", [None, SECURE])
@pytest.mark.parametrize("privacy", [SITES, EXAMPLES])
def test_two_federations_of_real_chance_have_the_same_epsilon_and_other_noise(
    tmp_path, privacy, secure
):
    simulated = run(asked(privacy, secure=secure), tmp_path / "simulated")
    found = [run(asked(privacy, secure=secure), tmp_path / n, chance=REAL) for n in "ab"]
    assert not same(found[0].adapter, found[1].adapter)
    for one in found:
        assert [r["epsilon"] for r in one.log] == [r["epsilon"] for r in simulated.log]


def test_a_server_that_releases_a_round_again_under_real_noise_debits_it_again(tmp_path):
    config = asked(SITES, rounds=2)
    with pytest.raises(Killed):
        run(config, tmp_path, engine=killing(1, 0), chance=REAL)  # as the first is validated
    log = run(config, tmp_path, chance=REAL).log
    told = [record["epsilon"]["site-00"] for record in log]
    assert told == [epsilon([Releases(1.0, 1.0, n)], 1e-5, "prv") for n in (2, 3)]


def test_empty_poisson_cohorts_of_real_chance_release_noise(tmp_path):
    config = asked(SITES, participation=1e-12, sampling="poisson", rounds=2)
    found = run(config, tmp_path, chance=REAL)
    assert [record["cohort"] for record in found.log] == [[], []]
    assert norm(found.adapter) > 0
