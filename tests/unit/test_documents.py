"""What the documents point to is there."""

from __future__ import annotations

import csv
import re

import pytest
import yaml

from fedbench import profiles
from fedbench.bench import between_table, coding, durability, private_step, secure
from fedbench.bench.scale import FLAT_MEMORY, FLAT_TIME
from fedbench.deployment.policy import SitePolicy
from fedbench.deployment.run_file import RunFile
from fedbench.files import read_json
from fedbench.paths import CHECKOUT
from fedbench.report.writing import markdown_lines
from fedbench.rules.validity import refusals, table

DOCUMENTS = sorted(
    path
    for folder in (".", "data", "data/backbones/*", "figures", "tests")
    for path in CHECKOUT.glob(f"{folder}/*.md")
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_relative_link_and_picture_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)#]+)[^)]*\)", text), *re.findall(r'src="([^"]+)"', text)]
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken


def test_make_targets_in_the_readme_are_there():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("name", ["smoke", "cpu"])
def test_tables_in_the_repository_are_drawn_from_runs_that_their_profile_plans(name):
    with (CHECKOUT / "figures" / name / "main_results.csv").open(encoding="utf-8") as table:
        drawn = {run for row in csv.DictReader(table) for run in row["runs"].split()}
    assert drawn == {config.id for config in profiles.load(name).runs}


def test_the_table_of_rules_is_what_the_rules_say():
    text = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.partition("<!-- rules: written by python -m fedbench rules -->\n")[2]
    assert block.partition("<!-- end of rules -->")[0] == markdown_lines(table())


def test_every_refusal_has_a_reason_that_names_its_rules():
    told = "\n".join(refusals())
    refused = [row[0] for row in table()[1:] if {"refused", "sgd only"} & {*row}]
    assert refused
    assert all(name in told for name in refused)


def test_what_is_said_of_many_sites_is_what_was_measured():
    """``python -m fedbench.bench.scale`` writes the record, which is kept by hand."""
    record = read_json(CHECKOUT / "data" / "scale.json")
    counts = [row["sites"] for row in record["rows"]]
    text = " ".join((CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8").split())
    growth = record["growth"]
    assert (
        f"From {counts[0]} sites to {counts[-1]:,}, at equal cohorts, peak memory grew "
        f"{growth['peak']:.2f}-fold and CPU time per sampled site {growth['cpu']:.2f}-fold"
    ) in text
    assert growth["peak"] <= FLAT_MEMORY
    assert growth["cpu"] <= FLAT_TIME


def test_what_is_said_of_backdoors_under_robust_rules_is_what_was_drawn():
    said = "a plain backdoor by four of ten sites got its answer every time, under every rule"
    assert said in " ".join((CHECKOUT / "THREATS.md").read_text(encoding="utf-8").split())
    with (CHECKOUT / "figures" / "attacks" / "attacks.csv").open(encoding="utf-8") as table:
        drawn = list(csv.DictReader(table))
    rows = [row for row in drawn if (row["attack"], row["hostile_sites"]) == ("backdoor", "4")]
    assert len({row["rule"] for row in rows}) == 7
    assert {float(row["success"]) for row in rows} == {1.0}


@pytest.mark.parametrize(
    ("bench", "page"),
    [
        (coding, "THREATS.md"),
        (private_step, "THREATS.md"),
        (secure, "THREATS.md"),
        (durability, "RELIABILITY.md"),
    ],
)
def test_what_protection_costs_is_what_was_measured(bench, page):
    """``python -m fedbench.bench.NAME`` writes the record, which is kept by hand."""
    name = bench.__name__.rpartition(".")[2]
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    block = text.partition(f"<!-- {name}: printed by python -m {bench.__name__} -->\n```\n")[2]
    record = read_json(CHECKOUT / "data" / "costs" / f"{name}.json")
    assert block.partition("\n```\n")[0].splitlines() == bench.table(record)


def test_reliability_takes_no_more_of_a_round_than_it_may():
    record = read_json(CHECKOUT / "data" / "costs" / "durability.json")
    assert record["share_of_all_rounds"] <= durability.MOST


@pytest.mark.parametrize(
    ("head", "described"), [("What run.yml says", RunFile), ("What a policy says", SitePolicy)]
)
def test_the_page_on_federations_has_every_field_with_its_default(head, described):
    text = (CHECKOUT / "FEDERATION.md").read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.partition(f"## {head}\n")[2], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)` )?\|", section, re.MULTILINE)
    said = {name: yaml.safe_load(default) for name, default in rows}
    fields = described.model_fields.items()
    told = {name: None if field.is_required() else field.default for name, field in fields}
    assert list(said) == list(told)
    assert said == {name: str(v) if hasattr(v, "parts") else v for name, v in told.items()}


def test_what_is_said_of_machines_apart_is_what_was_measured():
    """``python -m fedbench.bench.between --record`` writes the record."""
    text = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.partition("<!-- between: printed by python -m fedbench.bench.between -->\n```\n")[
        2
    ]
    record = read_json(CHECKOUT / "data" / "costs" / "between.json")
    assert block.partition("\n```\n")[0].splitlines() == between_table.table(record)
    assert all(one["same"] for one in record["rounds"]["found"])
