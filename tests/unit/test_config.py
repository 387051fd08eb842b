"""A configuration is refused with every problem at once, and its id is the hash of all of it."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from fedbench.config import LATER, LATER_OF_SITES, PartitionConfig, RunConfig, parse_config
from fedbench.errors import FedbenchError
from fedbench.paths import CHECKOUT

RECORDED = sorted((CHECKOUT / "data" / "recorded").glob("*/runs.jsonl"))
BASE = {"task": "fpb", "compute": "plain"}

#: Another value for every field.
OTHER = {
    "task": "fiqa_sa",
    "backbone": "fedbench-qwen2",
    "method": "ia3",
    "setting": "local",
    "seed": 1,
    "partition": {"kind": "iid", "sites": 9},
    "rule": "fedprox",
    "codec": "fp16",
    "codec_down": "fp16",
    "byte_budget": 10**6,
    "sampling": "poisson",
    "secure": {"bound": 2.0},
    "privacy": {"unit": "site", "clip": 1.0, "noise": 0.5},
    "attack": "sign-flip",
    "hostile": 0.2,
    "faults": "crash:rate=0.2",
    "policy": {"retries": 2},
    "rounds": 6,
    "participation": 0.5,
    "validated_by": "cohort",
    "optimizer": "sgd",
    "checkpointing": True,
    "placement": "offloaded",
    "passes": 4,
    "own_passes": 1,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "gradient_clip": 2,
    "rank": 8,
    "alpha": 16,
    "dropout": 0.1,
    "max_tokens": 128,
    "train_limit": 10,
    "validation_limit": 10,
    "test_limit": 10,
    "generated": 0,
    "labels": "shuffled",
    "device": "cuda",
    "dtype": "bfloat16",
    "compute": "nf4",
}


def refusal(values):
    with pytest.raises(FedbenchError) as caught:
        parse_config(values)
    return str(caught.value)


def test_all_problems_are_told_in_one_message():
    message = refusal({"setting": "fedrated", "rounds": 0, "passses": 3})
    assert "task is missing" in message
    assert "setting = 'fedrated'" in message
    assert "'federated'" in message
    assert "rounds = 0" in message
    assert "passses is not a field, did you mean passes?" in message
    assert message.count("The configuration cannot be used") == 1


def test_a_misspelt_field_of_the_partition_is_told_the_fields_of_a_partition():
    message = refusal({**BASE, "partition": {"sitess": 3}})
    assert "partition.sitess is not a field, did you mean sites?" in message
    assert "(allowed: kind, sites, alpha, minimum, " in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, -1])
def test_a_learning_rate_is_a_positive_number(value):
    assert "learning_rate" in refusal({**BASE, "learning_rate": value})


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"kind": "dirichlet"}, "alpha is missing"),
        ({"kind": "quantity"}, "alpha is missing"),
        ({"kind": "iid", "alpha": 0.3}, "alpha has no meaning"),
        ({"kind": "natural", "alpha": 0.3}, "alpha has no meaning"),
    ],
)
def test_alpha_belongs_to_skewed_partitions_only(values, clause):
    assert clause in refusal({**BASE, "partition": values})


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"partition": {"sites": 4, "without": 4}}, "the last of 4 sites is 3"),
        ({"partition": {"sites": 1, "without": 0}}, "take more sites"),
        *(
            ({"partition": {"without": 1}, "setting": setting}, f"setting {setting}, where no")
            for setting in ("base", "local", "centralized")
        ),
        (
            {"partition": {"without": 1, "slowest": 0.5}},
            "without and slowest have no meaning together",
        ),
        ({"partition": {"ranks": [16, 32]}}, "32 is more than the rank of the shared adapter"),
        ({"own_passes": 5}, "it must be less than passes, which is 5"),
        ({"own_passes": 1, "setting": "local"}, "no meaning in the setting local"),
    ],
)
def test_what_has_no_meaning_together_is_refused(values, clause):
    assert clause in refusal({**BASE, **values})


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        parse_config(BASE).seed = 1


def test_the_id_is_the_hash_of_all_fields_in_canonical_form():
    sites = {"noise": 0.4, "noisy": 0.25, "dialects": 2, "ranks": [4], "without": 0}
    config = parse_config({**BASE, **{name: OTHER[name] for name in LATER}, "partition": sites})
    values = config.model_dump(mode="json")
    del values["partition"]["slowest"]  # has no meaning beside ``without``
    text = json.dumps(values, sort_keys=True)
    assert config.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_field_that_came_later_counts_only_where_it_says_something_new():
    config = parse_config(BASE)
    told = {n: v for n, v in config.model_dump(mode="json").items() if n not in LATER}
    told["partition"] = {n: v for n, v in told["partition"].items() if n not in LATER_OF_SITES}
    text = json.dumps(told, sort_keys=True)
    assert config.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert {name: getattr(config, name) for name in LATER} == LATER
    sites = config.partition
    assert {name: getattr(sites, name) for name in LATER_OF_SITES} == LATER_OF_SITES


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_recorded_runs_keep_the_ids_under_which_their_items_are_kept(path):
    import pandas as pd

    configs = [json.loads(line)["config"] for line in path.read_text().splitlines()]
    items = pd.read_parquet(path.with_name("items.parquet"), columns=["run"])
    assert {parse_config(config).id for config in configs} == set(items["run"])


def test_the_id_does_not_depend_on_how_values_are_written():
    spelt = {"alpha": 32, "passes": "5", "batch_size": 16.0, "weight_decay": 0, **BASE}
    assert parse_config(spelt).id == parse_config(BASE).id


def test_a_configuration_read_back_from_its_record_has_the_same_id():
    config = parse_config({**BASE, "partition": {"kind": "dirichlet", "alpha": 0.3}})
    assert parse_config(json.loads(json.dumps(config.model_dump(mode="json")))).id == config.id


@pytest.mark.parametrize("field", RunConfig.model_fields)
def test_the_id_depends_on(field):
    assert parse_config({**BASE, field: OTHER[field]}).id != parse_config(BASE).id


@pytest.mark.parametrize(
    "change",
    [
        *({"sites": 4}, {"minimum": 5}, {"alpha": 0.4}, {"kind": "quantity"}, {"kind": "label"}),
        *(
            {"noise": 0.4},
            {"noise": 0.4, "noisy": 0.25},
            {"dialects": 2},
            {"slowest": 0.5},
            {"ranks": [8, 4]},
        ),
        {"without": 0},
    ],
)
def test_the_id_depends_on_every_part_of_the_partition(change):
    values = {"kind": "dirichlet", "alpha": 0.3}
    before = parse_config({**BASE, "partition": values})
    assert parse_config({**BASE, "partition": {**values, **change}}).id != before.id


def test_what_is_left_open_has_no_id():
    with pytest.raises(FedbenchError, match="resolve"):
        _ = parse_config({"task": "fpb"}).id


def test_yaml_reads_the_word_true_as_a_boolean_and_it_still_means_true_labels():
    assert parse_config({**BASE, "labels": True}) == parse_config(BASE)
    assert "labels = False" in refusal({**BASE, "labels": False})


def test_the_label_of_a_partition_is_short():
    assert PartitionConfig(kind="dirichlet", alpha=0.30).label == "dirichlet-0.3"
    assert PartitionConfig().label == "iid"
    assert PartitionConfig(noise=0.40, ranks=(16, 4)).label == "iid+noise-0.4+ranks-16-4"


def test_python_and_the_shell_are_told_in_the_same_words():
    with pytest.raises(FedbenchError, match=r"ronds is not a field, did you mean rounds\?"):
        RunConfig(task="fpb", ronds=3)


@pytest.mark.parametrize("written", ["8,4", [8, 4], (8, 4)])
def test_ranks_may_be_written_as_in_a_shell(written):
    assert PartitionConfig(ranks=written).ranks == (8, 4)
    assert PartitionConfig(ranks="8").ranks == PartitionConfig(ranks=8).ranks == (8,)


def test_noisy_sites_without_noise_are_refused():
    assert "noisy has no meaning without noise" in refusal({**BASE, "partition": {"noisy": 0.25}})
