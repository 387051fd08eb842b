"""What the documents point to is there."""

from __future__ import annotations

import csv
import re

import pytest

from fedbench import profiles
from fedbench.paths import CHECKOUT

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
