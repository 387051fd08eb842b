"""A byte of a stored file changes: it is noticed and named, or nothing that is shown is wrong.

What is flipped is one bit of one byte of one file, kinds of files taken in turn. Then a user does
what a user would: lists, runs, resumes, draws. Only three outcomes are right: the same numbers and
nothing said, because the byte did not matter; the same numbers, computed again, and the file named;
or one sentence that names the file and the remedy.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections import Counter
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fedbench import grid, profiles, store
from fedbench.energy import suite
from fedbench.errors import FedbenchError
from fedbench.files import write_json
from fedbench.leakage import records as leakage
from fedbench.manifests import write_manifest
from fedbench.models import backbones
from fedbench.report import compare, reproduce, site, status, verify
from fedbench.report.figures import save_figure
from fedbench.report.writing import write_origin, write_table
from fedbench.resolving import resolve
from fedbench.running import run
from tests import toys
from tests.campaigns import world

CHECKOUT = Path(__file__).parents[2]


def flipped(path, draw):
    """Change one bit of the file; where."""
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return at


def harmed_one(folder, patterns, draw):
    """A file of these patterns with a flipped byte: each kind of file as often as any other."""
    kinds = [sorted(p for p in folder.glob(pattern) if p.is_file()) for pattern in patterns]
    path = draw.choice(draw.choice([files for files in kinds if files]))
    flipped(path, draw)
    return path


class Tried:
    """What came of each trial."""

    def __init__(self):
        self.outcomes, self.wrong = Counter(), []

    def judge(self, kind, path, use, right, said):
        """Do what a user would; ``said()`` is what was said meanwhile, outside of errors."""
        try:
            found = use()
            told = said()
            named = path.name in told or path.parent.name in told
            outcome = "rebuilt" if named else "same"
            if found != right:
                self.wrong.append(f"{kind}: {path} gives other numbers ({told})")
                if isinstance(found, dict):
                    print([key for key in right if found.get(key) != right[key]])
        except FedbenchError as error:
            outcome = "told"
            if path.name not in str(error) or "\n" in str(error):
                self.wrong.append(f"{kind}: {path} is not named in: {error}")
        except Exception as error:
            outcome = "traceback"
            self.wrong.append(f"{kind}: {path} ends in {error!r}")
        self.outcomes[kind, outcome] += 1

    def count(self, campaign):
        totals = Counter(outcome for _, outcome in self.outcomes.elements())
        told = {name: totals[name] for name in ("same", "rebuilt", "told")}
        campaign.count(trials=self.outcomes.total(), wrong_results=len(self.wrong), **told)


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "world" / "home"))
    return world.made(tmp_path / "world")


@pytest.fixture
def said(capsys, caplog):
    """What was printed and logged since the last time."""
    caplog.set_level(logging.WARNING, "fedbench")

    def take():
        shown = capsys.readouterr()
        told = shown.out + shown.err + caplog.text
        caplog.clear()
        return told

    return take


@pytest.mark.slow
def test_a_flipped_byte_of_a_finished_run_is_never_a_wrong_number(campaign, made, said):
    configs = [resolve(made.config(**values)) for values in world.FINISHED.values()]
    right = [world.result(run(config)) for config in configs]
    made.keep()
    draw, tried = random.Random(campaign.seed), Tried()
    patterns = [
        *("home/runs/*/manifest.json", "home/runs/*/run.json", "home/runs/*/items.parquet"),
        *("home/runs/*/partition.json", "home/runs/*/adapters/*", "home/runs/*/deltas/*"),
    ]

    def use(config):
        list(store.finished())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                grid, "_work", lambda waiting, progress: {c: run(c) for c in waiting} and {}
            )
            if draw.random() < 0.5:
                grid.ensure_runs([config], progress=False)
        return world.result(run(config))

    for _ in range(campaign.size(sample=12, full=90)):
        path = harmed_one(made.folder, patterns, draw)
        which = next(i for i, c in enumerate(configs) if c.id in path.parts)
        said()
        tried.judge(path.parent.name if path.parent.name in ("adapters", "deltas") else path.name,
                    path, lambda which=which: use(configs[which]), right[which], said)  # fmt: skip
        made.restore()
    assert tried.wrong == []
    assert sum(n for (_, outcome), n in tried.outcomes.items() if outcome == "rebuilt") >= 8
    tried.count(campaign)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flipped_byte_of_work_under_way_is_never_a_wrong_number(
    campaign, made, said, monkeypatch
):
    configs = {name: resolve(made.config(**values)) for name, values in world.STOPPED.items()}
    home = made.folder / "home"
    right = {name: world.result(run(config)) for name, config in configs.items()}
    shutil.rmtree(home / "runs")
    for name, config in configs.items():
        world.stop(config, name)
    made.keep()
    draw, tried = random.Random(campaign.seed), Tried()
    kinds = ["checkpoint", "log.jsonl", "*.state", "*.held", "schemas.json", "privacy.json"]
    kinds += ["secure", "attempts.json", "first.reply", "personal"]
    for _ in range(campaign.size(sample=18, full=90)):
        path = harmed_one(home, [f"runs/*/work/**/{kind}" for kind in kinds], draw)
        name = next(name for name, config in configs.items() if config.id in path.parts)
        said()
        kind = path.suffix or path.name
        tried.judge(
            kind, path, lambda name=name: world.result(run(configs[name])), right[name], said
        )
        made.restore()
    assert tried.wrong == []
    assert {kind for kind, outcome in tried.outcomes if outcome == "told"} <= {
        "privacy.json",
        ".json",
    }
    assert sum(n for (_, outcome), n in tried.outcomes.items() if outcome == "rebuilt") >= 5
    tried.count(campaign)


def drawn(folder, run_):
    """A table and a figure of a run, and the executed copy of a notebook."""
    frame = pd.DataFrame({"run": [run_.id], "task": ["toy"], "mean": [run_.metrics["accuracy"]]})
    write_table(frame, "main_results", folder, [run_], "A table.")
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    save_figure(figure, frame, "main_results_figure", folder, [run_], "A figure.")
    copy = folder.parent / "home" / "notebooks" / "tiny" / "01_page.ipynb"
    made = new_notebook(cells=[new_markdown_cell("# A page"), new_code_cell("1 + 1")])
    made.cells[1].outputs = [new_output("execute_result", data={"text/plain": "2"})]
    copy.parent.mkdir(parents=True)
    nbformat.write(made, copy)
    write_origin(copy.parent, copy.stem, {"notebook": copy.name})
    shutil.copytree(copy.parent, folder.parent / "notebooks")


def test_a_flipped_byte_of_what_is_kept_is_never_a_wrong_number(campaign, made, said, monkeypatch):
    """Recorded runs, backbones, tuned values, measurements, verdicts, tables and figures."""
    data, home = made.folder / "data", made.folder / "home"
    monkeypatch.setattr(store, "shipped", lambda name: data / name)
    monkeypatch.setattr(profiles, "shipped", lambda name: data / name)
    config = resolve(made.config())
    done = run(config)
    store.record([done], data / "recorded" / "smoke")
    for name in ("leakage", "costs"):
        shutil.copytree(CHECKOUT / "data" / name, data / name)
    for name in ("tuning.json", "verdicts.json"):
        shutil.copy(CHECKOUT / "data" / name, data / name)
    write_json(suite.where("smoke"), {"key": "k", "measurements": [{"joules": 1.25}]})
    drawn(made.folder / "figures", done)
    shutil.rmtree(home / "runs")
    toy = toys.make_backbone(data / "backbones" / "toy", seed=1)
    monkeypatch.setattr(backbones, "BUILT_IN", ("toy",))
    monkeypatch.setattr(backbones, "shipped", lambda name: data / name)
    write_manifest(toy, [path.name for path in backbones.meant(toy)])
    backbones.locate("toy:random")
    made.keep()

    def recorded():
        (found,) = store.finished()
        return world.result(run(config)) | world.result(found)

    def pages():
        compare.of_folder(made.folder / "figures")
        reproduce._rows(made.folder / "figures" / "main_results.csv")
        page = site.build_site("tiny", made.folder / "figures", made.folder / "notebooks")
        return {p.name: p.read_bytes() for p in page.parent.rglob("*") if p.is_file()}

    def loaded():
        return [backbones.digest("toy"), backbones.digest("toy:random")]

    uses = {
        "recorded": (["data/recorded/smoke/*"], recorded),
        "backbone": (["data/backbones/toy/*.json", "data/backbones/toy/*.safetensors"], loaded),
        "untrained": (["home/untrained/*/*"], loaded),
        "tuned values": (["data/tuning.json"], lambda: profiles.tuned_values("smoke")),
        "audits": (["data/leakage/*"], lambda: leakage.recorded(data / "leakage")),
        "verdicts": (["data/verdicts.json"], lambda: verify.read_recorded(data / "verdicts.json")),
        "energy": (["home/energy/*"], lambda: status.suite.found("smoke")),
        "drawn": (["figures/*", "home/notebooks/tiny/*"], pages),
    }  # fmt: skip
    world.forget()
    right = {kind: use() for kind, (_, use) in uses.items()}
    made.restore()
    draw, tried = random.Random(campaign.seed), Tried()
    for number in range(campaign.size(sample=24, full=120)):
        kind = [*uses][number % len(uses)]
        patterns, use = uses[kind]
        path = harmed_one(made.folder, patterns, draw)
        said()
        tried.judge(kind, path, use, right[kind], said)
        made.restore()
    assert tried.wrong == []
    assert sum(n for (_, outcome), n in tried.outcomes.items() if outcome == "told") >= 12
    tried.count(campaign)


def test_a_changed_byte_of_a_backbone_or_task_of_ones_own_is_told_as_a_change(made, said, campaign):
    """Nobody knows whether it was meant: the run is done again, and why is said."""
    config = resolve(made.config())
    right = world.result(run(config))
    made.keep()
    draw, tried = random.Random(campaign.seed), Tried()
    for _ in range(campaign.size(sample=3, full=20)):
        path = harmed_one(made.folder / "given", ["backbone/model.safetensors", "task/*.csv"], draw)
        said()
        try:
            same = world.result(run(config)) == right
            told = same or "changed" in said()
        except FedbenchError as error:
            told = str(path.parent) in str(error)
        assert told, path
        tried.outcomes["given", "told"] += 1
        made.restore()
    tried.count(campaign)
