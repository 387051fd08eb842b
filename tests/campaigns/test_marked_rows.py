"""Whatever is wrong with a row, or breaks while it is read, is told without a word of its text."""

from __future__ import annotations

import json
import logging
import multiprocessing
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fedbench import cli, grid, store
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError, traced
from fedbench.resolving import resolve
from fedbench.tasks import load_task
from tests import toys
from tests.campaigns.marks import Marks

TASK = {
    "name": "ward", "title": "A ward", "domain": "health", "licence": "private",
    "prompt": "{text}\nAnswer:", "topic": {"kind": "column", "field": "subject"},
    "attribute": "house",
}  # fmt: skip
ANSWERS = [
    {"labels": ["bad", "good"], "answer": {"field": "mood"}},
    {"labels": ["a", "b", "c"], "answer": {"field": "n", "kind": "score", "thresholds": [1, 9]}},
    {"options": ["x", "y"], "answer": {"field": "letter", "kind": "letter"}},
    {"options": ["x", "y"], "answer": {"field": "n", "kind": "index"}},
    {"options": "given", "answer": {"field": "right", "kind": "text"}},
]
FORMS = ["csv", "tsv", "jsonl", "json", "parquet", "sentence_at_label", "fiqa"]


def rows(marks, count=40):
    return [
        {
            "text": f"{marks.new()} of {marks.new()}", "mood": ("bad", "good")[n % 2],
            "n": 1 + n % 2, "letter": "AB"[n % 2], "x": (x := marks.new()), "y": marks.new(),
            "given": [x, marks.new()], "right": x, "subject": marks.new(), "house": marks.new(),
        }
        for n in range(count)
    ]  # fmt: skip


def harmed(random, rows, asked):
    """The rows with something wrong in one or a few of them, often in the column ``asked`` for."""
    row = random.choice(rows)
    name, other = random.sample(sorted(row), 2)
    if asked not in (name, other) and random.random() < 0.6:
        name = asked
    kind = random.choice([0, 0, 0, 1, 2, 3, 4, 5, 6])
    if kind == 0:
        row[name] = row[other]
    elif kind == 1:
        row[name] = random.choice(["", " ", None, 7, -1.5, [], {"A": row["text"]}, [row["text"]]])
    elif kind == 2:
        del row[name]
    elif kind == 3:
        text = row["text"]
        row[text] = row.pop(name)
    elif kind == 4:
        rows += [dict(row) | {name: row[other]} for _ in range(3)]
    elif kind == 5:
        for each in rows:
            each[name], each[other] = each[other], each[name]
    return rows


def written(form, rows):
    """The bytes of a file of these rows, as far as its form has room for them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if form in ("csv", "tsv"):
        lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
        comma = "," if form == "csv" else "\t"
        return "".join(comma.join(map(str, line)) + "\n" for line in lines).encode()
    if form == "parquet":
        sink = pa.BufferOutputStream()
        plain = [{name: json.dumps(value) if isinstance(value, dict | list) and name != "given"
                  else value if name == "given" and isinstance(value, list)
                  else None if value is None or name == "given" else str(value)
                  for name, value in row.items()} for row in rows]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(plain), sink)
        return sink.getvalue().to_pybytes()
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if form == "json":
        return json.dumps(rows).encode()
    if form == "sentence_at_label":
        return "".join(f"{row.get('text')}@{row.get('mood')}\n" for row in rows).encode()
    told = {
        str(row.get("house", "0")): {"sentence": row.get("text"), "info": [
            {"target": row.get("x"), "sentiment_score": row.get("n")}]}
        for row in rows
    }  # fmt: skip
    return json.dumps(told).encode()


def broken(random, content):
    """The bytes with a few changed, some left out, or the end or the first line missing."""
    kind, place = random.randrange(6), random.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[content.find(b"\n") + 1 :]
    if kind == 2:
        return content[:place] + bytes([random.randrange(256)]) + content[place + 1 :]
    if kind == 3:
        odd = random.choice([b'"', b"\n", b",", b"\xff", b"{", b"@"])
        return content[:place] + odd + content[place:]
    return content


@pytest.mark.slow
def test_no_wrong_row_is_quoted(campaign, tmp_path, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    chance, marks = random.Random(campaign.seed), Marks.of(campaign.seed)
    told, loaded, defects = [], 0, 0
    for number in range(campaign.size(sample=150, full=1500)):
        form, answer = chance.choice(FORMS), ANSWERS[number % len(ANSWERS)]
        wrong = harmed(chance, rows(marks), answer["answer"]["field"])
        content = broken(chance, written(form, wrong))
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "rows").write_bytes(content)
        encoding = chance.choice(["utf-8", "utf-8", "latin-1", "ascii"])
        layout = {"files": {"all": "rows"}, "format": form, "encoding": encoding}
        spec = TASK | answer | {"layouts": [layout]}
        if form in ("sentence_at_label", "fiqa") and chance.random() < 0.9:
            spec |= {
                "prompt": "{sentence}\nAnswer:",
                "topic": {"kind": "words", "field": "sentence"},
            }
            spec["attribute"] = ""
            spec["answer"] = ANSWERS[0]["answer"] | {"field": "label"}
            spec |= {"labels": ["bad", "good"]}
            spec.pop("options", None)
        (folder / "task.yml").write_text(yaml.safe_dump(spec))
        try:
            load_task(str(folder / "task.yml"))
            loaded += 1
        except FedbenchError as error:
            told.append(str(error))
        except Exception as error:
            defects += 1
            told.append(traced(error))
    said = "\n".join([*told, caplog.text, *capfd.readouterr(), *(str(w.message) for w in recwarn)])
    assert marks.found_in(said.encode()) == []
    # Errors of many kinds were met, and the marks would have been there to be quoted.
    kinds = {one.split(": ", 1)[-1].split(";")[0][:60] for one in told}
    assert len(kinds) > 12
    assert len(told) > number // 3
    campaign.count(files=number + 1, refused=len(told), loaded=loaded, kinds=len(kinds),
                   defects=defects, marks_found=0)  # fmt: skip


#: where texts are handled: what breaks there has a text at hand
PLACES = [
    "fedbench.tasks.load.draft",
    "fedbench.tasks.load.one_of_each",
    "fedbench.tasks.load.near_repeats",
    "fedbench.tasks.load.counted",
    "fedbench.tasks.sources.parse",
    "fedbench.prepare.make_partition",
    "fedbench.prepare.rewritten",
    "fedbench.prepare.tokenise",
    "fedbench.prepare.training_sequence",
    "fedbench.summary.generate",
    "fedbench.running.holdings",
    "fedbench.running.summary",
]


def quoting(text):
    """Errors as libraries raise them, each quoting a text in its own way."""
    return [
        KeyError(text),
        ValueError(f"bad value: {text!r}"),
        RuntimeError(text, {"row": text}),
        UnicodeEncodeError("ascii", text, 0, len(text), "ordinal not in range"),
        OSError(2, text, text),
    ]


@pytest.mark.slow
def test_no_defect_quotes_the_text_that_it_met(campaign, tmp_path, monkeypatch, capfd, caplog):
    from fedbench.tasks import load

    caplog.set_level(logging.DEBUG)
    marks = Marks.of(campaign.seed)
    backbone = str(toys.make_backbone(tmp_path / "backbone"))
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / "rows").write_bytes(written("jsonl", rows(marks, 60)))
    layout = {"files": {"all": "rows"}, "format": "jsonl"}
    (folder / "task.yml").write_text(yaml.safe_dump(TASK | ANSWERS[0] | {"layouts": [layout]}))
    text = f"{marks.new()} of {marks.new()}"
    monkeypatch.setattr(grid, "_done", multiprocessing.get_context("spawn").Value("d", 0.0))
    told, met = [], 0
    errors = quoting(text)
    for number, place in enumerate(PLACES):
        for error in errors[: campaign.size(sample=1, full=len(errors))] or errors:
            error = errors[(errors.index(error) + number) % len(errors)]

            def fail(*args, error=error, **kwargs):
                raise type(error)(*error.args) from KeyError(text)

            values = {
                "task": str(folder / "task.yml"), "backbone": backbone, "seed": met, "rank": 2,
                "partition": {"kind": "iid", "sites": 2, "minimum": 2}, "rounds": 1, "passes": 1,
                "max_tokens": 64, "generated": 2,
            }  # fmt: skip
            config = resolve(RunConfig.model_validate(values))
            words = [
                w for n, v in values.items() for w in (f"--{n.replace('_', '-')}", json.dumps(v))
            ]
            with monkeypatch.context() as patch:
                patch.setattr(place, fail)
                load._load.cache_clear()
                load._asked.cache_clear()
                assert cli.main(["run", *words]) in (2, 3), place
                with pytest.raises(FedbenchError) as caught:
                    grid._one(config)
            told.append(str(caught.value))
            trace = store.folder(config.id) / "error.txt"
            if trace.exists():
                met += 1
                told.append(trace.read_text())
                assert "in fail" in told[-1]
    load._load.cache_clear()
    load._asked.cache_clear()
    said = "\n".join([*told, caplog.text, *capfd.readouterr()])
    assert marks.found_in(said.encode()) == []
    assert met > len(PLACES) // 2
    assert "this is a defect of fedbench" in said
    campaign.count(places=len(PLACES), defects=met, marks_found=0)
