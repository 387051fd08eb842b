"""A federation without one of its sites, as real runs of a toy."""

from __future__ import annotations

import json

import pytest

from fedbench.config import RunConfig
from fedbench.report.contribution import contribution
from fedbench.running import run

UNEVEN = {"kind": "quantity", "alpha": 0.3, "sites": 4, "minimum": 8}


@pytest.fixture
def configure(backbones, toy_task):
    def of(without=None, partition=UNEVEN, **values):
        defaults = {
            "task": toy_task,
            "backbone": str(backbones("llama")),
            "rounds": 2,
            "passes": 2,
            "batch_size": 8,
            "rank": 2,
            "max_tokens": 64,
            "generated": 0,
        }
        sites = {**partition, "without": without}
        return RunConfig.model_validate({**defaults, **values, "partition": sites})

    return of


def _sites(found):
    return json.loads((found.source / "partition.json").read_text())["sites"]


def test_the_site_left_out_neither_trains_nor_judges_and_keeps_its_test_items(configure):
    even = {"kind": "iid", "sites": 3, "minimum": 2}
    every, fewer = run(configure(partition=even)), run(configure(1, partition=even))
    assert _sites(fewer) == _sites(every)
    assert {site for record in fewer.rounds for site in record["cohort"]} == {"site-00", "site-02"}
    assert [site["site"] for site in fewer.sites if not site["trained"]] == ["site-01"]
    assert fewer.metrics["sites_too_small"] == []
    held = {site["site"]: site for site in every.sites}
    assert fewer.metrics["examples"] == 2 * sum(
        held[name]["n_train"] for name in ("site-00", "site-02")
    )
    judging = held["site-00"]["n_validation"] + held["site-02"]["n_validation"]
    assert {record["n_validation"] for record in fewer.rounds} == {judging}
    assert every.rounds[0]["n_validation"] == judging + held["site-01"]["n_validation"]
    columns = ["item", "site", "gold"]
    assert fewer.items[columns].equals(every.items[columns])
    assert (fewer.items["site"] == "site-01").sum() == held["site-01"]["n_test"] > 0
    assert fewer.adapter.read_bytes() != every.adapter.read_bytes()


def test_without_a_site_that_is_too_small_to_train_the_federation_is_that_of_all(configure):
    every = run(configure())
    small = every.metrics["sites_too_small"]
    assert small
    number = [site["site"] for site in every.sites].index(small[0])
    fewer = run(configure(number))
    assert fewer.id != every.id
    assert fewer.metrics["sites_too_small"] == small
    assert fewer.adapter.read_bytes() == every.adapter.read_bytes()
    assert list(fewer.rounds) == list(every.rounds)
    row = contribution([every, fewer]).set_index(["items", "site"]).loc["common", small[0]]
    assert row["verdict"] == "too small to train"
