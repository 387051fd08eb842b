"""Every text of a private task is marked, and no mark is in anything that a run writes or says."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from fedbench import cli, grid, store
from fedbench.config import RunConfig
from fedbench.paths import CHECKOUT, home
from fedbench.resolving import resolve
from tests import toys
from tests.campaigns.marks import Marks, searched

WORDS = ("fell", "rose")
LABELLED = """\
name: ward
title: Notes of a ward
domain: health
licence: private
prompt: "{text}\\nMood:"
labels: {"0": bad, "1": good}
answer: {field: mood}
topic: {kind: column, field: subject}
attribute: house
layouts:
  - files: {all: ward.csv}
"""
CHOICE = """\
name: exam
title: Questions of a ward
domain: health
licence: private
prompt: {text: "{question}\\nAnswer:", letter: "{question}\\n{options}\\nAnswer:"}
options: given
answer: {field: right, kind: text}
topic: {kind: words, field: question, clusters: 3}
attribute: house
layouts:
  - files: {all: exam.jsonl}
"""
FEW = {"kind": "iid", "sites": 2, "minimum": 2}
PRIVATE = {"unit": "example", "examples": 16, "clip": 0.5, "noise": 1.0}
OF_SITES = {"unit": "site", "clip": 0.5, "noise": 1.0}
#: what runs differ in: every setting, and every way in which a site's texts meet other code
WAYS = [
    {"setting": "base"},
    {"setting": "local"},
    {"setting": "centralized"},
    {"partition": {"kind": "natural", "sites": 3, "minimum": 2}},
    {"partition": {"kind": "dirichlet", "alpha": 1.0, "sites": 2, "minimum": 1}},
    {"codec": "ef+int4", "codec_down": "delta+int8"},
    {"codec": "top-k:share=0.1", "partition": FEW | {"noise": 0.4}},
    {"privacy": PRIVATE},
    {"privacy": OF_SITES},
    {"secure": {"bound": 8}, "codec": "int8"},
    {"attack": "label-flip", "hostile": 0.3, "rule": "median", "partition": FEW | {"sites": 4}},
    {"own_passes": 1},
    {"attack": "backdoor+scaling:factor=4", "hostile": 0.3, "partition": FEW | {"sites": 4}},
    {"attack": "replay", "hostile": 0.3, "partition": FEW | {"sites": 4}},
    {"rule": "fedsa-lora"},
    {"rule": "flora", "partition": FEW | {"ranks": [2, 1]}},
    {"method": "ia3", "labels": "shuffled"},
    {"method": "qlora", "optimizer": "adamw-8bit"},
    {"method": "full", "max_tokens": 40},
]  # fmt: skip


@pytest.fixture
def marks(campaign):
    return Marks.of(campaign.seed)


@pytest.fixture
def world(tmp_path, marks, monkeypatch):
    """Marked tasks outside of the home, and a folder for what is written beside it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    houses, subjects = [marks.new() for _ in range(3)], [marks.new() for _ in range(4)]
    rows = [
        f"{marks.new()} {WORDS[i % 2]} {marks.new()},{i % 2},{houses[i % 3]},{subjects[i % 4]}"
        for i in range(72)
    ]
    (folder / "ward.csv").write_text("\n".join(["text,mood,house,subject", *rows]) + "\n")
    (folder / "ward.yml").write_text(LABELLED)
    asked = []
    for i in range(72):
        options = [f"{marks.new()} {WORDS[k % 2]}" for k in range(3)]
        question = f"which {marks.new()} of {marks.new()}"
        asked.append({"question": question, "given": options, "right": options[i % 3],
                      "house": houses[i % 3]})  # fmt: skip
    (folder / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "exam.yml").write_text(CHOICE)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return str(toys.make_backbone(tmp_path_factory.mktemp("marked") / "backbone"))


@pytest.fixture
def said(capfd, caplog, recwarn):
    """Everything that was printed, logged at any level or warned of so far."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("fedbench").setLevel(logging.DEBUG)
    every: list[str] = []

    def so_far() -> bytes:
        every.extend(capfd.readouterr())
        told = [caplog.text, *(str(warning.message) for warning in recwarn)]
        return "\n".join([*every, *told]).encode()

    return so_far


@pytest.fixture
def kept(monkeypatch):
    """What a run keeps while it is under way stays, as after a kill."""
    import fedbench.running

    monkeypatch.setattr(fedbench.running.shutil, "rmtree", lambda *a, **k: None)


def config(task, backbone, **values):
    given = {
        "task": str(task), "backbone": backbone, "partition": FEW, "batch_size": 8, "rank": 2,
        "max_tokens": 96, "generated": 2, "rounds": 2, "passes": 2, **values,
    }  # fmt: skip
    return resolve(RunConfig.model_validate(given))


def words(given):
    """A configuration as the options of a command."""
    lines: list[str] = []
    for name, value in given.items():
        lines += [f"--{name.replace('_', '-')}", json.dumps(value)]
    return lines


@pytest.mark.slow
def test_no_mark_is_in_anything_that_runs_write_or_say(
    campaign, marks, world, backbone, said, kept, tmp_path
):
    tasks = [world / "ward.yml", world / "exam.yml"]
    pairs = [(way, tasks[i % 2]) for i, way in enumerate(WAYS)]
    extra = [(way, task) for way in WAYS for task in tasks if (way, task) not in pairs]
    chosen = (pairs + extra)[: campaign.size(sample=len(pairs), full=len(pairs) + len(extra))]
    done = []
    for way, task in chosen:
        given = config(task, backbone, **way).model_dump(mode="json", exclude_defaults=True)
        status = cli.main(["run", *words(given)])
        assert status in (0, 2), way  # some attacks have no meaning among options
        done += [way] * (status == 0)
    runs = list(store.finished())
    own = [run for run in runs if not run.recorded]
    assert len(own) == len(done) >= len(chosen) - 4
    for run in own:
        assert cli.main(["show", run.id]) == 0
    assert cli.main(["list"]) == 0
    for task in tasks:
        assert cli.main(["audit", str(task), "--backbone", backbone]) == 0
    for number, run in enumerate(run for run in own if run.adapters):
        name = next(iter(run.adapters))
        assert cli.main(["export", run.id, f"exported/{number}", "--adapter", name]) == 0

    everything = [home(), tmp_path / "exported"]
    assert {path.suffix for path in home().rglob("*")} >= {".parquet", ".json", ".safetensors"}
    assert list(home().rglob("checkpoint"))
    found, files = searched(everything, marks.found_in)
    printed = said()
    assert found == []
    assert marks.found_in(printed) == []
    assert printed.count(b"audit of") + printed.count(b"accuracy") > len(done)
    # What the marks stand in is really read: the tasks themselves are full of them.
    assert len(searched([world], marks.found_in)[0]) == 2
    campaign.count(runs=len(done), files=files, printed=len(printed), marks_found=0)


TOKENS = ("hf_" + "Kq7ZxW2mVb9RtLp4", "kept-in-a-file-1234")
PROFILE = """\
title: a ward
minutes: 1
partitions:
  - {kind: dirichlet, alpha: 1.0, sites: 2, minimum: 1}
  - {kind: natural, sites: 2, minimum: 2}
common: {rounds: 1, passes: 1, batch_size: 8, rank: 2, learning_rate: 0.003, max_tokens: 96}
grid:
  - {tasks: [%s], backbones: [%s], methods: [lora], seeds: [0]}
"""


@pytest.fixture
def texts(monkeypatch):
    """Every text that is put into a picture, where points can no longer be searched."""
    from matplotlib.text import Text

    seen: list[str] = []
    set_text = Text.set_text

    def noted(self, text):
        seen.append(str(text))
        set_text(self, text)

    monkeypatch.setattr(Text, "set_text", noted)
    return seen


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_mark_and_no_token_is_in_tables_figures_notebooks_and_the_report(
    campaign, marks, world, backbone, said, texts, tmp_path, monkeypatch
):
    from fedbench import report
    from fedbench.report.build import build
    from fedbench.report.site import build_site

    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text(TOKENS[1])
    monkeypatch.setenv("HF_TOKEN", TOKENS[0])
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("sys.argv", ["fedbench", "figures", "--token", TOKENS[1], *TOKENS])
    tasks = ", ".join(str(world / name) for name in ("ward.yml", "exam.yml"))
    (tmp_path / "own.yml").write_text(PROFILE % (tasks, backbone))
    few = tmp_path / "few"
    few.mkdir()
    names = sorted(path.name for path in (CHECKOUT / "notebooks").glob("0[1-4]*.ipynb"))
    for name in names[: campaign.size(sample=1, full=len(names))]:
        shutil.copy(CHECKOUT / "notebooks" / name, few / name)
    profile, output = str(tmp_path / "own.yml"), str(tmp_path / "figures")
    copies = build(profile, output, notebooks=few)
    runs = grid.found(profile)
    figures = report.folder(output)
    held = report.composition(runs)
    report.save_figure(report.composition_figure(held), held, "composition", figures, runs, "Held.")
    results = report.main_results(runs, grid.planned(profile))
    report.write_table(report.wide(results), "main_table", figures, runs, "Main.")
    for name, part in report.main_parts(results).items():
        report.save_figure(report.main_figure(part), part, name, figures, runs, "Main.")
    build_site(profile, tmp_path / "figures", few)
    for each in (["status"], ["plan"], ["verify"]):
        assert cli.main([*each, "--profile", profile]) in (0, 1)

    folders = [home(), tmp_path / "figures"]
    kinds = {path.suffix for folder in folders for path in folder.rglob("*")}
    assert kinds >= {".png", ".pdf", ".csv", ".md", ".tex", ".json", ".ipynb", ".html", ".parquet"}
    printed = said() + "\n".join(texts).encode()
    found, files = searched(folders, marks.found_in)
    assert found == []
    assert marks.found_in(printed) == []
    asked = [token.encode() for token in TOKENS]
    assert searched(folders, lambda content: [t for t in asked if t in content])[0] == []
    assert [token for token in asked if token in printed] == []
    # Numbered topics are there in place of the marked ones, and pictures were really drawn.
    assert "topic-00" in (tmp_path / "figures" / "composition.csv").read_text()
    assert len(texts) > 100
    assert len(copies) == campaign.size(sample=1, full=len(names))
    campaign.count(
        runs=len(runs), notebooks=len(copies), files=files, marks_found=0, tokens_found=0
    )
