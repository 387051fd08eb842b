from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from zmq import ZMQError

from fedbench.errors import FedbenchError
from fedbench.locks import is_held
from fedbench.paths import CHECKOUT, PACKAGE, home
from fedbench.report.build import (
    _measure_energy,
    build,
    check_parameters,
    declared_parameters,
    execute,
    find_notebooks,
)

NOTEBOOKS = sorted((CHECKOUT / "notebooks").rglob("*.ipynb"))
GIVEN = {"profile": "tiny", "output": "figures/tiny"}


def notebook(path, parameters=None):
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters)
        cell.metadata["tags"] = ["parameters"]
        made.cells.append(cell)
    nbformat.write(made, path)
    return path


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def test_a_notebook_that_declares_what_it_is_given_is_accepted(tmp_path):
    check_parameters(notebook(tmp_path / "1.ipynb", 'profile = "a"\noutput = "b"'), GIVEN)


def test_an_unknown_parameter_is_refused(tmp_path):
    path = notebook(tmp_path / "1.ipynb", 'profile = "a"')

    with pytest.raises(FedbenchError, match="does not declare output"):
        check_parameters(path, GIVEN)


def test_a_missing_parameter_is_refused(tmp_path):
    path = notebook(tmp_path / "1.ipynb", 'profile = "a"\noutput = "b"\nseed = 0')

    with pytest.raises(FedbenchError, match="is not given seed"):
        check_parameters(path, GIVEN)


def test_a_notebook_without_parameters_cell_is_refused(tmp_path):
    with pytest.raises(FedbenchError, match="does not declare output, profile"):
        check_parameters(notebook(tmp_path / "1.ipynb"), GIVEN)


def test_a_file_that_is_no_notebook_is_one_sentence(tmp_path):
    (tmp_path / "1.ipynb").write_text("{")

    with pytest.raises(FedbenchError, match="cannot be read"):
        declared_parameters(tmp_path / "1.ipynb")


def test_notebooks_come_in_the_order_of_their_names(tmp_path):
    for name in ("10_last", "02_second", "01_first", "draft"):
        notebook(tmp_path / f"{name}.ipynb")

    assert [path.stem for path in find_notebooks(tmp_path)] == ["01_first", "02_second", "10_last"]


def test_an_installation_without_notebooks_says_where_to_get_them(tmp_path):
    with pytest.raises(FedbenchError, match="clone it"):
        find_notebooks(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """What the notebooks were given, in place of executing them."""
    given = []

    def note(sources, folder, parameters):
        given.append((folder, parameters))
        return [folder / source.name for source in sources]

    monkeypatch.setattr("fedbench.report.build.execute_all", note)
    monkeypatch.setattr("fedbench.report.build._measure_energy", lambda profile: None)
    monkeypatch.setattr("fedbench.report.build.check_fits", lambda profile: None)
    return given


@pytest.mark.parametrize(("profile", "kept", "calls"), [
    ("tiny", False, 0), ("smoke", False, 1), ("smoke", True, 0),
])  # fmt: skip
def test_energy_is_measured_once_and_never_where_the_repository_keeps_it(
    tmp_path, monkeypatch, profile, kept, calls
):
    called = []
    path = tmp_path / "energy.json"
    if kept:
        path.write_text("{}")
    monkeypatch.setattr("fedbench.energy.suite.recorded", lambda profile: path)
    monkeypatch.setattr("fedbench.energy.suite.measure", called.append)
    _measure_energy(profile)
    assert len(called) == calls


def test_a_suite_that_fails_leaves_the_figures_to_say_so(tmp_path, monkeypatch, capsys):
    def fail(profile):
        raise FedbenchError("Other runs are under way.")

    monkeypatch.setattr("fedbench.energy.suite.measure", fail)
    monkeypatch.setattr("fedbench.energy.suite.recorded", lambda profile: tmp_path / "none")
    _measure_energy("smoke")
    assert "not measured" in capsys.readouterr().out


def runs_fail(monkeypatch, there):
    def fail(profile, progress):
        raise FedbenchError("1 of 2 runs could not be done.")

    monkeypatch.setattr("fedbench.grid.ensure", fail)
    monkeypatch.setattr("fedbench.grid.found", lambda profile: there)


def test_folders_are_called_after_the_name_of_ones_own_profile(drawn, monkeypatch, tmp_path):
    mine = tmp_path / "mine.yml"
    shutil.copy(PACKAGE / "profiles" / "tiny.yml", mine)
    monkeypatch.setattr("fedbench.profiles.search_moved", lambda profile: "")
    monkeypatch.setattr("fedbench.grid.ensure", lambda profile, progress: [])
    build(str(mine))
    folder, parameters = drawn[0]

    assert folder == home() / "notebooks" / "mine"
    assert parameters == {"profile": str(mine), "output": "figures/mine"}


def test_whoever_draws_a_profile_has_its_notebooks_alone(monkeypatch):
    held = []

    def execute_all(sources, folder, parameters):
        held.append(is_held(folder.with_name("tiny.lock")))
        return []

    monkeypatch.setattr("fedbench.grid.ensure", lambda profile, progress: [])
    monkeypatch.setattr("fedbench.report.build.execute_all", execute_all)
    build("tiny")
    assert held == [True]
    assert not is_held(home() / "notebooks" / "tiny.lock")


def test_after_a_run_that_failed_the_others_are_drawn_and_the_failure_is_raised(drawn, monkeypatch):
    runs_fail(monkeypatch, there=["a run"])

    with pytest.raises(FedbenchError, match="1 of 2 runs could not be done"):
        build("tiny")
    assert len(drawn) == 1


def test_where_no_run_is_there_nothing_is_drawn(drawn, monkeypatch):
    runs_fail(monkeypatch, there=[])

    with pytest.raises(FedbenchError, match="1 of 2 runs could not be done"):
        build("tiny")
    assert drawn == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoSuchKernel("python3"), "needs the Jupyter kernel python3, which is not installed"),
        (RuntimeError("Kernel didn't respond in 60 seconds"), "did not finish .* didn't respond"),
        (ZMQError(98), r"did not finish \(ZMQError"),
    ],
)
def test_a_kernel_that_does_not_work_is_one_sentence_and_the_copy_is_kept(
    tmp_path, monkeypatch, error, said
):
    def execute_notebook(source, target, *_, **__):
        Path(target).write_text("half a copy")
        raise error

    monkeypatch.setattr("papermill.execute_notebook", execute_notebook)
    with pytest.raises(FedbenchError, match=said) as caught:
        execute(tmp_path / "01.ipynb", tmp_path / "done" / "01.ipynb", GIVEN)

    assert "01.failed.ipynb" in str(caught.value)
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["01.failed.ipynb"]


@pytest.mark.parametrize("settings", [("base",), ("base", "federated")], ids="-".join)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_draws_what_is_there_when_the_rest_was_not_run(
    path, settings, save, config, tmp_path, monkeypatch
):
    planned = [config(name) for name in ("base", "local", "federated", "centralized")]
    runs = [save(made) for made in planned if made.setting in settings]
    monkeypatch.setattr("fedbench.grid.found", lambda profile: runs)
    monkeypatch.setattr("fedbench.grid.planned", lambda profile: planned)
    namespace = {"display": lambda shown: None}
    for cell in code_cells(path):
        exec(cell.source, namespace)
        if "parameters" in cell.metadata.get("tags", []):
            namespace["output"] = str(tmp_path)

    if path.stem == "03_main_results":
        assert "not run" in (tmp_path / "main_table.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_thin_and_without_outputs(path):
    cells = code_cells(path)

    assert cells[0].metadata["tags"] == ["parameters"]
    assert declared_parameters(path) == set(GIVEN)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert all(cell.source.count("\n") < 14 for cell in cells)
    assert not any(
        line.startswith(("def ", "class ")) for c in cells for line in c.source.split("\n")
    )
    assert "check_written" in cells[-1].source
    assert nbformat.read(path, 4).metadata["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_whatever_is_shown_is_followed_by_words_and_a_figure_by_how_to_read_on(path):
    cells = nbformat.read(path, 4).cells
    for cell, after in pairwise(cells):
        if "report.write_" in cell.source or "report.save_" in cell.source:
            assert after.cell_type == "markdown"
            assert "report.save_" not in cell.source or not after.source.startswith("#")


def test_the_notebooks_of_the_paper_are_there():
    assert [path.stem for path in NOTEBOOKS][:5] == [
        "01_data_and_partitions",
        "02_backbones_and_methods",
        "03_main_results",
        "04_convergence",
        "05_energy",
    ]


def test_what_cannot_fit_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr("fedbench.report.plan.gpu_here", lambda together: None)
    monkeypatch.setattr("fedbench.grid.ensure", None)
    with pytest.raises(FedbenchError, match="has no CUDA device: take one with a GPU of at least"):
        build("paper")
