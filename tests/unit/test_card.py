from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fedbench.card import card
from fedbench.config import RunConfig
from fedbench.store import Run

METRICS = {
    "task_title": "Look-alike of FPB",
    "synthetic": True,
    "accuracy": 0.61234,
    "n_test": 1000,
}


def finished(backbone="fedbench-llama", revision="fedbench-llama", metrics=METRICS, **values):
    config = RunConfig(task="lookalike_fpb", backbone=backbone, compute="plain", seed=3, **values)
    origin = {"backbone": "0" * 64, "backbone_revision": revision}
    sites = [{"site": f"site-0{number}"} for number in range(2)]
    return Run(config, metrics, [], sites, origin, Path("nowhere"))


def front(text):
    return yaml.safe_load(text.split("---")[1])


def test_a_card_says_what_it_is_and_how_it_did():
    run = finished(partition={"kind": "dirichlet", "alpha": 0.3})
    text = card(run, "global")

    assert "# Look-alike of FPB: lora, federated" in text
    assert "dirichlet-0.3, number of sites: 2" in text
    assert "Seed: 3" in text
    assert "Test accuracy: 0.6123 on 1,000 test items\n" in text
    assert f"`{run.id}`" in text
    assert "Backbone: `fedbench-llama`" in text
    assert "**Synthetic look-alike data**" in text
    assert "licences of the task's data" in text


def test_a_card_of_real_data_is_not_marked_and_keeps_its_note():
    text = card(
        finished(metrics=METRICS | {"synthetic": False, "note": "Not comparable."}), "global"
    )

    assert "Synthetic" not in text
    assert "\n\nNot comparable.\n\n" in text


def test_a_negative_control_is_called_one():
    assert "**Negative control.**" in card(finished(labels="shuffled"), "global")


def test_the_accuracy_of_local_training_is_said_to_be_a_mean_over_sites():
    text = card(finished(setting="local"), "site-01")

    assert "local, adapter of site-01" in text
    assert "the mean over the adapters of all sites" in text


@pytest.mark.parametrize(
    ("backbone", "argument", "words"),
    [
        ("fedbench-llama", '"data/backbones/fedbench-llama"', "fedbench/_data/backbones/"),
        ("fedbench-llama:random", "BACKBONE", "never trained"),
        ("Qwen/Qwen2.5-0.5B@main", '"Qwen/Qwen2.5-0.5B", revision="abc"', "tokenizer too"),
    ],
)
def test_a_card_says_how_to_load_each_kind_of_backbone(backbone, argument, words):
    text = card(finished(backbone, "abc"), "global")

    assert f"model = AutoModelForCausalLM.from_pretrained({argument})" in text
    assert "model = PeftModel.from_pretrained(model, FOLDER)" in text
    assert words in text


def test_only_a_backbone_of_the_hub_is_named_to_the_hub():
    assert front(card(finished("Qwen/Qwen2.5-0.5B@main"), "global"))["base_model"] == (
        "Qwen/Qwen2.5-0.5B"
    )
    assert "base_model" not in front(card(finished(), "global"))


@pytest.mark.parametrize("suffix", ["", ":random"])
def test_a_backbone_in_a_folder_is_named_without_its_path(tmp_path, suffix):
    (tmp_path / "mine").mkdir()
    text = card(finished(f"{tmp_path}/mine{suffix}"), "global")

    assert str(tmp_path) not in text
    assert f"Backbone: `mine{suffix}`" in text
    assert "base_model" not in front(text)


def test_a_quantised_backbone_is_named_as_one():
    run = finished()
    quantised = run.config.model_copy(update={"method": "qlora", "compute": "nf4"})

    assert "quantised to NF4" not in card(run, "global")
    text = card(Run(quantised, METRICS, [], [], run.provenance, Path("nowhere")), "global")
    assert "quantised to NF4" in text


def test_a_model_tuned_in_full_needs_no_backbone():
    text = card(finished(method="full"), "global")

    assert "model = AutoModelForCausalLM.from_pretrained(FOLDER)" in text
    assert "PeftModel" not in text
    assert front(text)["library_name"] == "transformers"
