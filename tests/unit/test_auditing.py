"""The audit finds what was planted: copies, disagreement, an item at two sites, a paraphrase."""

from __future__ import annotations

import pytest
import yaml

from fedbench.auditing import audit
from fedbench.cli import main
from fedbench.config import PartitionConfig, RunConfig
from fedbench.resolving import resolve

WORDS = (
    "amber birch cedar daisy ember fjord grove heath ivory jumbo kayak lemon mango noble".split()
)


def rows():
    """Sixty rows that share nothing, then what is planted."""
    made = []
    for i in range(60):
        words = " ".join(f"{WORDS[(i * 5 + j) % 14]}{i}x{j}" for j in range(16))
        made.append((words, "ab"[i % 2], f"bank-{i % 3}"))
    return made


@pytest.fixture
def describe(tmp_path):
    def of(planted, choice="drop"):
        lines = [f"{text},{label},{owner}" for text, label, owner in [*rows(), *planted]]
        (tmp_path / "rows.csv").write_text("\n".join(["text,label,bank", *lines]) + "\n")
        spec = {
            "name": "mine",
            "title": "Mine",
            "domain": "finance",
            "licence": "ours",
            "prompt": "{text}\nLabel:",
            "labels": ["a", "b"],
            "answer": {"field": "label"},
            "attribute": "bank",
            "near_repeats": choice,
            "layouts": [{"files": {"all": "rows.csv"}}],
        }
        path = tmp_path / "mine.yml"
        path.write_text(yaml.safe_dump(spec))
        return str(path)

    return of


def audited(task, **values):
    partition = PartitionConfig(kind="iid", sites=2)
    return audit(resolve(RunConfig(task=task, partition=partition, **values)))


def test_a_clean_dataset_has_nothing_to_report(describe):
    found = audited(describe([]))
    for name in (
        "removed_duplicates",
        "dropped_conflicts",
        "near_repeats",
        "shared_between_owners",
    ):
        assert found[name] == 0
    assert found["rows"] == found["distinct"] == 60
    assert found["near_pairs_in_training"] == 0
    assert found["licence"] == "ours"


def test_a_row_that_stands_there_twice_is_counted(describe):
    text, label, owner = rows()[0]
    found = audited(describe([(text, label, owner)]))
    assert (found["rows"], found["removed_duplicates"]) == (61, 1)
    assert found["shared_between_owners"] == 0


def test_copies_that_disagree_are_counted(describe):
    text, label, owner = rows()[0]
    found = audited(describe([(text, "b" if label == "a" else "a", owner)]))
    assert (found["dropped_conflicts"], found["dropped_conflict_rows"]) == (1, 2)


def test_an_item_given_to_two_sites_is_found(describe):
    text, label, _ = rows()[0]
    found = audited(describe([(text, label, "another bank")]))
    assert found["shared_between_owners"] == 1


def test_a_paraphrase_of_every_row_is_found_wherever_it_fell(describe):
    planted = [(f"{text} {text.split()[0]}x", label, owner) for text, label, owner in rows()]
    found = audited(describe(planted))
    leaks, pairs = found["near_repeats"], found["near_pairs_in_training"]
    across = found["near_pairs_between_sites (iid, 2 sites)"]
    assert leaks > 0
    assert 0 < across < pairs


def test_lengths_are_told_in_tokens_and_cuts_are_counted(describe):
    task = describe([])
    whole, short = audited(task)["prompt_tokens"], audited(task, max_tokens=16)["prompt_tokens"]
    assert whole["cut"] == 0
    assert short["cut"] == 60
    assert short["longest"] == whole["longest"] > 16


def test_the_command_prints_it(describe, capsys):
    assert main(["audit", describe([]), "--partition.sites", "2"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["rows"] == 60
