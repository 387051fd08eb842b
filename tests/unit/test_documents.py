"""What the documents point to is there."""

from __future__ import annotations

import re

import pytest

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
