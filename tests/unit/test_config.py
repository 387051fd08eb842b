"""A configuration is refused with every problem at once, and its id is the hash of all of it."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from fedbench.config import LATER, PartitionConfig, RunConfig, parse_config
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
    "rounds": 6,
    "participation": 0.5,
    "validated_by": "cohort",
    "optimizer": "sgd",
    "checkpointing": True,
    "passes": 4,
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
    assert "(allowed: kind, sites, alpha, minimum)" in message


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


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        parse_config(BASE).seed = 1


def test_the_id_is_the_hash_of_all_fields_in_canonical_form():
    config = parse_config({**BASE, **{name: OTHER[name] for name in LATER}})
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    assert config.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_field_that_came_later_counts_only_where_it_says_something_new():
    config = parse_config(BASE)
    told = {n: v for n, v in config.model_dump(mode="json").items() if n not in LATER}
    text = json.dumps(told, sort_keys=True)
    assert config.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert {name: getattr(config, name) for name in LATER} == LATER


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
    "change", [{"sites": 4}, {"minimum": 5}, {"alpha": 0.4}, {"kind": "quantity"}]
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


def test_python_and_the_shell_are_told_in_the_same_words():
    with pytest.raises(FedbenchError, match=r"ronds is not a field, did you mean rounds\?"):
        RunConfig(task="fpb", ronds=3)
