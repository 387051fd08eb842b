"""Notebooks executed by papermill: what succeeds is kept whole, what fails says where."""

from __future__ import annotations

import nbformat
import pytest

from fedbench.errors import FedbenchError
from fedbench.report import TABLE, check_written
from fedbench.report.build import build, execute, execute_all

pytestmark = pytest.mark.slow

GIVEN = {"profile": "tiny", "output": "somewhere"}


def notebook(path, *sources):
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    made.cells = [
        nbformat.v4.new_code_cell(text) for text in ('profile = "x"; output = "y"', *sources)
    ]
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, path)
    return path


def test_a_notebook_gets_its_parameters_and_its_name_when_it_has_succeeded(tmp_path):
    source = notebook(tmp_path / "01.ipynb", "print(profile, output)")
    copy = execute(source, tmp_path / "done" / "01.ipynb", GIVEN)

    assert "tiny somewhere" in copy.read_text()
    assert {path.name for path in copy.parent.iterdir()} == {"01.ipynb", "01.json"}


def test_a_failure_names_the_notebook_the_cell_and_the_error_and_leaves_its_copy(tmp_path):
    good = notebook(tmp_path / "01.ipynb", "1 + 1")
    bad = notebook(tmp_path / "02.ipynb", "1 + 1", "broken = 1 / 0", "never = 1")
    with pytest.raises(FedbenchError) as caught:
        execute_all([good, bad, good], tmp_path / "done", GIVEN)

    assert "02.ipynb failed in cell 4 (broken = 1 / 0): ZeroDivisionError" in str(caught.value)
    assert "02.failed.ipynb" in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == [
        "01.ipynb",
        "01.json",
        "02.failed.ipynb",
    ]


def test_a_kernel_that_dies_is_no_success(tmp_path):
    source = notebook(tmp_path / "01.ipynb", "import os; os._exit(3)")
    with pytest.raises(FedbenchError, match=r"kernel of notebook 01\.ipynb died"):
        execute(source, tmp_path / "done" / "01.ipynb", GIVEN)

    assert [path.name for path in (tmp_path / "done").iterdir()] == ["01.failed.ipynb"]


def test_a_kernel_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("fedbench.report.build.KERNEL", "no-such-kernel")
    source = notebook(tmp_path / "01.ipynb", "1 + 1")
    with pytest.raises(FedbenchError, match=r"01\.ipynb needs the Jupyter kernel no-such-kernel"):
        execute(source, tmp_path / "done" / "01.ipynb", GIVEN)

    assert [path.name for path in (tmp_path / "done").iterdir()] == ["01.failed.ipynb"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    source = notebook(tmp_path / "01.ipynb", "1 + 1")
    (tmp_path / "done").write_text("a file, not a folder")

    with pytest.raises(FedbenchError, match="could not be written"):
        execute(source, tmp_path / "done" / "01.ipynb", GIVEN)


@pytest.mark.timeout(1500)
def test_the_tiny_profile_goes_from_nothing_to_all_tables_and_figures(tmp_path):
    figures = tmp_path / "figures"
    copies = build("tiny", output=str(figures))

    assert [copy.name[:2] for copy in copies] == ["01", "02", "03", "04", "05"]
    check_written(figures, ["data_audit", "main_table", "main_results", "contrasts"], TABLE)
    first = {path.name: path.read_bytes() for path in figures.iterdir()}

    build("tiny", output=str(figures))
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == first
