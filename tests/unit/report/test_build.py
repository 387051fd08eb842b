from __future__ import annotations

import nbformat
import pytest

from fedbench.errors import FedbenchError
from fedbench.paths import CHECKOUT
from fedbench.report.build import check_parameters, declared_parameters, find_notebooks

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
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


def test_the_four_notebooks_of_the_paper_are_there():
    assert [path.stem for path in NOTEBOOKS][:4] == [
        "01_data_and_partitions",
        "02_backbones_and_methods",
        "03_main_results",
        "04_convergence",
    ]
