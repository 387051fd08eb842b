"""What the server remembers of sites: who took part, and how often."""

from __future__ import annotations

import time

from fedbench.cohorts import draw_cohort
from fedbench.config import RunConfig
from fedbench.headers import to_train
from fedbench.reduction import noise_of

SITES = [f"site-{number}" for number in range(12)]  # in the order of names, 10 is before 2
MANY = 4000


def logged(config, sites, rounds):
    told = {"schemas": ["one"], "schemas_validation": ["two"], "n_validation": 1}
    return [
        {"round": n, "cohort": sorted(draw_cohort(config, sites, n)), **told} for n in range(rounds)
    ]


def test_a_site_is_told_in_how_many_rounds_it_took_part_and_in_which_one_last():
    config = RunConfig(task="", rounds=9, participation=0.4)
    log = logged(config, SITES, 9)
    for site in SITES:
        rounds = [record["round"] for record in log if site in record["cohort"]]
        found = to_train(config, SITES, log, site)
        assert found["turn"] == len(rounds)
        assert found["accepted"] == (rounds or [-1])[-1]


def test_noise_is_for_the_site_that_is_drawn_most_often():
    def noise(**values):
        privacy = {"unit": "site", "clip": 1.0, "epsilon": 3.0}
        config = RunConfig(task="", privacy=privacy, **values)
        return config, noise_of(config, config.privacy, SITES)

    config, found = noise(rounds=9, participation=0.4)
    drawn = [site for n in range(9) for site in draw_cohort(config, SITES, n)]
    assert found == noise(rounds=max(map(drawn.count, SITES)))[1]


def test_remembering_a_site_takes_little_more_where_there_are_many():
    def seconds(count):
        sites = [f"site-{number:05d}" for number in range(count)]
        config = RunConfig(task="")
        log = logged(config, sites, 40)
        began = time.process_time()
        for site in (sites[0], sites[count // 3], sites[-1]) * 30:
            to_train(config, [site], log, site)
        return time.process_time() - began

    # a fiftieth of the sites: where each is compared with all, fifty times as long
    assert seconds(MANY) < 5 * max(seconds(MANY // 50), 1e-4)
