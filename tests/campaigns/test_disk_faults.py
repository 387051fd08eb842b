"""Whatever a disk, the clock or the memory does, finished work stays whole and a run can go on."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from fedbench import files, grid, running, store
from fedbench.cli import main
from fedbench.errors import FedbenchError
from fedbench.exporting import export
from fedbench.report.build import execute
from fedbench.report.figures import save_figure
from fedbench.report.writing import check_drawn, write_table
from fedbench.resolving import resolve
from fedbench.running import run
from tests.campaigns import faults, world

REMEDIES = ("free the disk", "look after the disk", "start over", "done again", "again")


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "world" / "home"))
    return world.made(tmp_path / "world")


def sentence(error):
    """Whether it is one sentence of a reason and a remedy."""
    text = str(error)
    return "\n" not in text and any(remedy in text for remedy in REMEDIES)


def whole(home):
    """Damaged files of all finished runs."""
    ids = [path.parent.name for path in home.glob("runs/*/manifest.json")]
    return [harm for run_id in ids if (harm := store.damage(run_id))]


def tried(work, folder, at, kind):
    """What came of work on a disk that fails: the fault, and the error that was told, if any."""
    with faults.failing(folder, at, kind) as fault:
        try:
            work()
        except FedbenchError as error:
            return fault, error
    return fault, None


KINDS_OF_RUN = ("owing", "masked", "private")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_on_a_disk_that_fails_at_any_operation_goes_on_with_the_same_bits(campaign, made):
    home = made.folder / "home"
    configs = {name: resolve(made.config(**world.STOPPED[name])) for name in KINDS_OF_RUN}
    right = {name: world.result(run(config)) for name, config in configs.items()}
    shutil.rmtree(home)
    other = resolve(made.config(seed=5))
    run(other)
    made.keep()
    total = {}
    for name, config in configs.items():
        fault, error = tried(lambda config=config: run(config), home, 10**9, "full")
        assert error is None
        total[name] = fault.seen
        made.restore()
    draw = random.Random(campaign.seed)
    lost, wrong, told = [], [], 0
    trials = campaign.size(sample=14, full=110)
    for number in range(trials):
        name = KINDS_OF_RUN[number % len(KINDS_OF_RUN)]
        config, kind = configs[name], [*faults.KINDS][number % len(faults.KINDS)]
        fault, error = tried(
            lambda config=config: run(config), home, draw.randint(1, total[name]), kind
        )
        told += error is not None
        if error is not None and not sentence(error):
            wrong.append(f"{kind} at {fault.names[-1]}: {error}")
        lost += [f"{kind} at {fault.at}: {harm}" for harm in whole(home)]
        lost += [] if store.exists(other.id) else [f"{kind} at {fault.at}: a finished run is gone"]
        if world.result(run(config)) != right[name]:
            wrong.append(f"{kind} at {fault.at}: goes on otherwise")
        made.restore()
    assert lost == []
    assert wrong == []
    assert min(total.values()) > 60
    assert told > trials / 2
    campaign.count(trials=trials, told=told, operations=sum(total.values()), losses=0,
                   wrong_results=0)  # fmt: skip


@pytest.mark.slow
def test_what_is_written_of_runs_is_there_or_told_on_a_disk_that_fails(campaign, made):
    """Records, tables, figures, exports: at every operation, every kind of failure."""
    found = run(resolve(made.config()))
    out = made.folder / "out"
    frame = pd.DataFrame({"run": [found.id], "task": ["toy"], "mean": [0.5]})

    def draw():
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1])
        save_figure(figure, frame, "figure", out / "figures", [found], "A figure.")

    works = {
        "record": lambda: store.record([found], out / "recorded"),
        "table": lambda: write_table(frame, "table", out / "figures", [found], "A table."),
        "figure": draw,
        "export": lambda: export(found, out / "exported"),
        "json": lambda: files.write_json(out / "one.json", {"a": 1}),
    }
    trials = told = 0
    wrong = []
    chance = random.Random(campaign.seed)
    for name, work in works.items():
        fault, _ = tried(work, out, 10**9, "full")
        right = contents(out)
        shutil.rmtree(out)
        places = [(at, kind) for at in range(1, fault.seen + 1) for kind in faults.KINDS]
        few = campaign.size(sample=12, full=120)
        for at, kind in chance.sample(places, min(few, len(places))):
            trials += 1
            fault, error = tried(work, out, at, kind)
            told += error is not None
            if error is not None and not sentence(error):
                wrong.append(f"{name}, {kind} at {fault.names[-1]}: {error}")
            if error is None and fault.seen >= at and contents(out) != right:
                wrong.append(f"{name}, {kind} at {fault.names[at - 1]}: not told")
            there = (out / "exported").exists()
            if name == "export" and error is not None and there and contents(out) != right:
                wrong.append(f"{name}, {kind} at {fault.names[-1]}: a part of it is there")
            shutil.rmtree(out / "exported", ignore_errors=True)
            work()
            if contents(out) != right:
                wrong.append(f"{name}, {kind} at {at}: goes on otherwise")
            if name in ("table", "figure"):
                check_drawn(out / "figures")
            shutil.rmtree(out)
    assert wrong == []
    assert whole(made.folder / "home") == []
    assert told > trials / 2
    campaign.count(trials=trials, told=told, wrong_results=0)


def contents(folder):
    """Every file below a folder, but for leftovers that begin with a dot."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def test_a_disk_that_is_slow_and_a_clock_that_jumps_change_no_result(made, monkeypatch):
    config = resolve(made.config())
    right = world.result(run(config))
    shutil.rmtree(made.folder / "home")
    fsync, clock, draw = os.fsync, time.time, random.Random(0)

    def slow(descriptor):
        time.sleep(0.01)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(time, "time", lambda: clock() + draw.uniform(-1e8, 1e8))
    found = run(config)
    assert world.result(found) == right
    assert 0 <= found.provenance["seconds"] < 600
    for path in found.source.iterdir():  # a copy, or another time zone: mtime tells nothing
        os.utime(path, (draw.uniform(0, 2e9),) * 2)
    monkeypatch.setattr(running, "_compute", lambda *given: pytest.fail("it was done again"))
    assert run(config) == found


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"),
    OSError(errno.EIO, os.strerror(errno.EIO), "somewhere"),
], ids=["python", "torch", "disk"])  # fmt: skip
def test_what_the_system_refuses_in_a_worker_is_one_sentence(made, monkeypatch, error, capsys):
    def fail(*given, **more):
        raise error

    monkeypatch.setattr(running, "prepare", fail)
    monkeypatch.setattr(grid, "_done", multiprocessing.get_context("spawn").Value("d", 0.0))
    with pytest.raises(FedbenchError) as caught:
        grid._one(resolve(made.config()))
    assert sentence(caught.value)
    assert "defect" not in str(caught.value)
    path = made.folder / "run.yml"
    path.write_text(yaml.safe_dump(made.common))
    assert main(["run", "--config", str(path)]) == 2
    assert "again" in capsys.readouterr().err.splitlines()[-1]


LIMITED = """
    import resource, sys
    from fedbench.cli import main

    first, second, what = sys.argv[1:]
    assert main(["run", "--config", first]) == 0
    if what == "memory":
        most = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        held = []
        try:
            while True:  # what was freed meanwhile is no way out
                held.append(bytearray(1 << 18))
        except MemoryError:
            del held[-2:]
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    sys.exit(main(["run", "--config", second]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
@pytest.mark.parametrize("what", ["memory", "size of files"])
def test_a_process_at_the_limit_that_the_system_sets_ends_in_one_sentence(made, tmp_path, what):
    """Real limits: writes end short with EFBIG, and allocations fail wherever they happen."""
    for number in (0, 1):
        asked = {**made.common, "rounds": 2, "seed": number, "rank": 8 + 56 * number,
                 "batch_size": 8 + 200 * number}  # fmt: skip
        (tmp_path / f"{number}.yml").write_text(yaml.safe_dump(asked))
    command = [sys.executable, "-c", textwrap.dedent(LIMITED)]
    command += [str(tmp_path / "0.yml"), str(tmp_path / "1.yml"), what]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("fedbench: ")
    assert len(list((made.folder / "home").glob("runs/*/manifest.json"))) == 1
    assert whole(made.folder / "home") == []
    assert main(["run", "--config", str(tmp_path / "1.yml")]) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_notebook_on_a_disk_that_fails_has_a_whole_copy_or_none(campaign, made):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    source, out = made.folder / "01_page.ipynb", made.folder / "out"
    cells = [
        new_code_cell("profile = ''", metadata={"tags": ["parameters"]}),
        new_code_cell("1 + 1"),
    ]
    spoken = {"language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=spoken), source)
    out.mkdir()
    target = out / source.name
    fault, error = tried(lambda: execute(source, target, {"profile": "tiny"}), out, 10**9, "full")
    assert error is None
    places = range(1, fault.seen + 1)
    some = random.Random(campaign.seed).sample(
        places, min(len(places), campaign.size(sample=3, full=10))
    )
    for at in some:
        target.unlink()
        fault, error = tried(lambda: execute(source, target, {"profile": "tiny"}), out, at, "full")
        assert error is None or sentence(error), error
        assert error is None or fault.seen >= at
        if target.exists():
            assert nbformat.read(target, as_version=4).cells[-1].outputs
        execute(source, target, {"profile": "tiny"})
        check_drawn(out)
    campaign.count(trials=len(some), losses=0)
