"""Bad text: descriptions, datasets, profiles and options are read or refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import yaml

from fedbench import profiles
from fedbench.config import RunConfig, parse_config
from fedbench.files import read_json, read_yaml
from fedbench.options import fields_from
from fedbench.report.build import check_parameters
from fedbench.report.claim_file import read_claims
from fedbench.resolving import resolve
from fedbench.tasks import load_task
from fedbench.tasks.specfile import SPECS
from tests import toys
from tests.campaigns.mutations import Outcome, of_bytes, of_value
from tests.unit.tasks.conftest import CHOICE, LABELLED, labelled, questions

PROFILES = Path(profiles.__file__).parent / "profiles"

#: what stands in texts by accident or on purpose
ODD = (
    *(
        "",
        " ",
        "\0",
        "\x1b[2J",
        "\u202e",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x1f",
        "😀",
        "👩‍👩‍👧",
        "e\u0301",
    ),
    *("@", ",", '"', "'", "\\", "\\ud800", '"\\ud83d"', "{", "{x}", "{x!r:>999999999}", "%s", "\t"),
    *("\r", "\n", "\n\n", "\r\n", "<|end|>", "</s>", "\nAnswer:", "positive", "nan", "1e999"),
    *("9" * 5000, "~", "<<: *a", "&a [*a]", "!!python/object:x", "2020-13-45", "!!timestamp x"),
    *("!!binary x", "0o9", "!!int x", "!!float x", "!!set {a}", "? [1]", "- - - -", "[" * 600),
    *("{" * 600, "a: " * 500, "=", "yes", "x" * 50_000),
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "cp437", "utf-7", "utf-32", "shift_jis")


def of_text(random: Random, text: str) -> bytes:
    """Characters, lines and quotes in wrong places, other ends of lines, other encodings."""
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        at = random.randrange(len(text) + 1)
        stop = min(len(text), at + random.choice((0, 0, 1, 8, 200)))
        text = text[:at] + random.choice(ODD) + text[stop:]
    if random.random() < 0.1:
        text = text.replace("\n", random.choice(("\r\n", "\r", "\n\n", "\x0b", "\u2028")))
    if random.random() < 0.1:
        lines = text.split("\n")
        random.shuffle(lines)
        text = "\n".join(lines)
    content = text.encode(
        random.choice(ENCODINGS) if random.random() < 0.15 else "utf-8", "replace"
    )
    return of_bytes(random, content, content[::-1]) if random.random() < 0.3 else content


def of_lines(random: Random, text: str) -> bytes:
    """One JSON object a line, one of which has other values."""
    lines = text.splitlines()
    at = random.randrange(len(lines))
    lines[at] = json.dumps(
        of_value(random, json.loads(lines[at])), ensure_ascii=random.random() < 0.9
    )
    return "\n".join(lines).encode(errors="replace")


def of_json(random: Random, text: str) -> bytes:
    return json.dumps(of_value(random, json.loads(text))).encode()


def of_yaml(random: Random, text: str) -> bytes:
    value = of_value(random, yaml.safe_load(text))
    try:
        return yaml.safe_dump(value, allow_unicode=random.random() < 0.5).encode(errors="replace")
    except RecursionError:  # of what is nested deep; JSON is YAML, too
        return json.dumps(value).encode()


def tried(
    campaign,
    name: str,
    text: str,
    read: Callable[[bytes], object],
    sample: int = 150,
    structured: Callable[[Random, str], bytes] | None = None,
    full: int = 10_000,
) -> Outcome:
    """Inputs of one kind, and no finding among them."""
    random, outcome = Random(f"{campaign.seed} {name}"), Outcome()
    read(text.encode())  # good text is read
    for _ in range(campaign.size(sample=sample, full=full)):
        by_value = structured is not None and random.random() < 0.6
        outcome.trial(name, read, (structured if by_value else of_text)(random, text))
    campaign.count(**outcome.counts)
    assert outcome.findings[:20] == []
    assert outcome.taken
    assert len(outcome.refused) > 2
    return outcome


def loading(folder: Path, name: str, base=LABELLED, **changes) -> Callable[[bytes], object]:
    """Reads a dataset of one file, whose content is given, as a task."""
    described = {
        **base,
        "layouts": [{"files": {"all": name}, **changes.pop("layout", {})}],
        **changes,
    }
    task = folder / "task.yml"
    task.write_text(yaml.safe_dump(described), encoding="utf-8")

    def read(content: bytes) -> None:
        (folder / name).write_bytes(content)
        found = load_task(str(task))
        load_task.__globals__["_load"].cache_clear()
        load_task.__globals__["_asked"].cache_clear()
        for example in found.examples:
            example.prompt.encode()
            assert example.label in found.labels
            assert all(
                choice.strip() and choice == f" {choice.strip()}" for choice in example.choices
            )

    return read


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.delenv("FEDBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_fuzzing_of_task_descriptions(campaign, tmp_path):
    texts = [
        yaml.safe_dump(LABELLED),
        yaml.safe_dump(CHOICE),
        *((SPECS / f"{name}.yml").read_text() for name in ("medqa", "fiqa_sa", "lookalike_fpb")),
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled(30)))
    for name, start in (("train", 0), ("test", 90)):
        rows = "".join(json.dumps(row) + "\n" for row in questions(20, start))
        (tmp_path / f"{name}.jsonl").write_text(rows)
    random, path = Random(campaign.seed), tmp_path / "task.yml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        load_task(str(path))

    def mixed(random_: Random, text: str) -> bytes:
        other = random.choice(texts)
        return of_yaml(random_, other) if random.random() < 0.7 else of_text(random_, other)

    tried(campaign, "task", texts[0], read, 150, mixed)


JSONL = "".join(json.dumps(row) + "\n" for row in labelled(40))
CSV = "text,label\n" + "".join(f'"{r["text"]}, 😀",{r["label"]}\n' for r in labelled(40))
FPB = "".join(
    f"Profit @ {n} rose by {n} per cent .@{('negative', 'positive')[n % 2]}\n" for n in range(40)
)
MEDQA = "".join(
    json.dumps(
        {
            "question": f"A {n}-year-old man has pain. What is it?",
            "answer": "a",
            "options": {"A": f"gout {n}", "B": "flu", "C": "asthma", "D": "mumps"},
            "meta_info": "step1",
            "answer_idx": "ABCD"[n % 4],
            "metamap_phrases": ["man"],
        }
    )
    + "\n"
    for n in range(40)
)
MEDMCQA = "".join(
    json.dumps(
        {
            "question": f"Dose {n} of the drug?",
            "exp": None,
            "cop": 1 + n % 4,
            "opa": f"{n} mg",
            "opb": "none",
            "opc": "5 mg",
            "opd": "all",
            "subject_name": "Pharmacology",
            "topic_name": None,
            "id": f"a-{n}",
            "choice_type": "single",
        }
    )
    + "\n"
    for n in range(40)
)
FIQA = json.dumps(
    {
        str(n): {
            "sentence": f"Shares of firm {n} fall",
            "info": [
                {
                    "snippets": "['fall']",
                    "target": f"firm {n}",
                    "sentiment_score": f"{n / 40 - 0.5:.3f}",
                    "aspects": "['Stock']",
                }
            ],
        }
        for n in range(40)
    }
)


def spec(name: str) -> dict:
    found = yaml.safe_load((SPECS / f"{name}.yml").read_text())
    return {key: value for key, value in found.items() if key != "hub"}


FORMATS = {
    "jsonl": (JSONL, "rows.jsonl", LABELLED, {}, of_lines),
    "json": (json.dumps(labelled(40)), "rows.json", LABELLED, {}, of_json),
    "csv": (CSV, "rows.csv", LABELLED, {}, None),
    "tsv": (CSV.replace(",", "\t").replace("\t 😀", ", 😀"), "rows.tsv", LABELLED, {}, None),
    "latin1": (
        FPB,
        "s.txt",
        spec("fpb"),
        {"format": "sentence_at_label", "encoding": "latin-1"},
        None,
    ),
    "fpb": (FPB, "Sentences_50Agree.txt", spec("fpb"), {"format": "sentence_at_label"}, None),
    "medqa": (MEDQA, "rows.jsonl", spec("medqa"), {}, of_lines),
    "medmcqa": (MEDMCQA, "dev.json", spec("medmcqa"), {}, of_lines),
    "fiqa": (FIQA, "task1_headline_ABSA_train.json", spec("fiqa_sa"), {"format": "fiqa"}, of_json),
}


@pytest.mark.parametrize("name", FORMATS)
def test_fuzzing_of_release_files(campaign, tmp_path, name):
    text, file, base, layout, structured = FORMATS[name]
    read = loading(
        tmp_path, file, {**base, "name": "fuzzed", "near_repeats": "keep"}, layout=layout
    )
    tried(campaign, name, text, read, 100, structured, full=2000 if name == "latin1" else 10_000)


def test_fuzzing_of_profiles(campaign, tmp_path):
    text = (PROFILES / "tiny.yml").read_text()
    path = tmp_path / "own.yml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        profiles.read_spec.cache_clear()
        profiles.load(str(path))

    tried(campaign, "profile", text, read, 100, of_yaml)


def test_fuzzing_of_configurations(campaign, tmp_path):
    text = yaml.safe_dump(
        {
            "task": "x",
            "rounds": 3,
            "codec": "ef+int8",
            "rule": "fedprox:mu=0.1",
            "partition": {"kind": "dirichlet", "alpha": 0.3, "ranks": [4, 8]},
            "privacy": {"unit": "site", "clip": 1, "noise": 1},
            "attack": "sign-flip",
            "secure": {"bound": 2.0},
            "hostile": 0.2,
            "labels": True,
        }
    )
    path = tmp_path / "run.yml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        resolve(parse_config(fields_from(["--config", str(path), "--seed", "3"])))

    fields = yaml.safe_load(text)
    possible = {k: v for k, v in fields.items() if k not in ("privacy", "secure", "rule", "codec")}
    possible["partition"] = {"kind": "iid"}
    tried(campaign, "configuration", yaml.safe_dump(possible), read, 300, of_yaml)


def test_fuzzing_of_options(campaign, tmp_path):
    names = [
        *RunConfig.model_fields,
        "partition.sites",
        "partition.alpha",
        "privacy.clip",
        "secure.bits",
        "config",
        "partition",
        "",
        ".",
        "task.x",
        "a.b.c",
    ]
    random = Random(campaign.seed)

    def read(content: bytes) -> None:
        words = content.decode(errors="surrogateescape").split("\n")
        resolve(parse_config({"task": "x"} | fields_from(words)))

    def words(random_: Random, text: str) -> bytes:
        value = random.choice((*ODD, "1", "0.5", "1e-3", "-1", "[1, 2]", "{a: 1}", "null", "true"))
        value = value.replace("\n", " ")[:2000]  # no command line is longer
        return f"--{random.choice(names)}\n{value}".encode()

    tried(campaign, "options", "--rounds\n3", read, 300, words)


def test_fuzzing_of_parameters_of_notebooks(campaign, tmp_path):
    cell = {
        "cell_type": "code",
        "id": "a",
        "execution_count": None,
        "outputs": [],
        "metadata": {"tags": ["parameters"]},
        "source": ['profile = "tiny"\n', 'output = ""'],
    }
    text = json.dumps(
        {
            "cells": [cell],
            "metadata": {
                "kernelspec": {"name": "python3", "language": "python", "display_name": "x"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
    path = tmp_path / "01.ipynb"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        check_parameters(path, {"profile": "tiny", "output": ""})

    tried(campaign, "notebook", text, read, 100, of_json)


@pytest.mark.parametrize("name", ["claims", "json", "yaml"])
def test_fuzzing_of_files_of_the_repository(campaign, tmp_path, name):
    from fedbench.paths import shipped

    text = shipped("claims.yml").read_text()
    path = tmp_path / "file"
    read = {"claims": read_claims, "json": read_json, "yaml": read_yaml}[name]
    structured = of_yaml
    if name == "json":
        text, structured = json.dumps(yaml.safe_load(text)), of_json
    elif name == "yaml":
        text = toys.TASK

    def trial(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    tried(campaign, name, text, trial, 60, structured, full=1000)
