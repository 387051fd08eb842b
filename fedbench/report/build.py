"""From a profile to all its tables and figures: run what is missing, then the notebooks in order.

A notebook runs under a temporary name and gets its own only when its last cell has succeeded, so
an executed copy is always a whole one. After a failure the copy is kept as ``*.failed.ipynb``.
Processes that draw the same profile take turns at its notebooks.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedbench import grid, profiles
from fedbench.durable import make_folder, replace, sweep
from fedbench.energy import suite
from fedbench.errors import FedbenchError, refused
from fedbench.files import on_disk
from fedbench.locks import locked
from fedbench.paths import CHECKOUT, home, within
from fedbench.report.plan import check_fits
from fedbench.report.writing import write_origin

Parameters = Mapping[str, str]
KERNEL = "python3"


def build(profile: str, output: str | None = None, *, notebooks: Path | None = None) -> list[Path]:
    """Compute what ``profile`` lacks, then execute the notebooks in order; return their copies.

    Tables and figures go to ``output``, by default ``figures/<profile>`` of the checkout; executed
    copies to ``notebooks/<profile>`` in the folder of computed things. Where some runs fail, the
    notebooks draw the others all the same, and the failure is raised at the end.

    Raises:
        FedbenchError: a run or a notebook failed, a notebook does not take these parameters, or
            runs that are missing cannot fit on this machine, which is told before any starts.
    """
    told = profiles.read_spec(profile).notebooks
    sources = find_notebooks(notebooks or within(CHECKOUT, told))
    short = profiles.short_name(profile)
    parameters = {"profile": profile, "output": output or f"figures/{short}"}
    for source in sources:
        check_parameters(source, parameters)
    if reason := profiles.search_moved(profile):
        print(reason)
    check_fits(profile)
    sweep(Path(parameters["output"]).glob(".*"))
    failure = _run_missing(profile)
    _measure_energy(profile)
    folder = home() / "notebooks" / short
    with locked(folder.with_name(f"{short}.lock")):
        copies = execute_all(sources, folder, parameters)
    if failure:
        raise failure
    return copies


def _run_missing(profile: str) -> FedbenchError | None:
    """Do the runs that ``profile`` lacks; what failed, if others are there to be drawn.

    Raises:
        FedbenchError: nothing is there.
    """
    try:
        grid.ensure(profile, progress=True)
    except FedbenchError as failure:
        if not grid.found(profile):
            raise
        print(f"{failure} The figures will say which runs are missing.")
        return failure
    return None


def _measure_energy(profile: str) -> None:
    """Do the profile's energy suite, unless the repository keeps it; notebooks do without it."""
    if profiles.read_spec(profile).energy is None or suite.recorded(profile).exists():
        return
    try:
        suite.measure(profile)
    except FedbenchError as failure:
        print(f"{failure} The figures will say that energy was not measured.")


def find_notebooks(folder: Path) -> list[Path]:
    """The notebooks of ``folder`` in the order of their names.

    Raises:
        FedbenchError: there is none.
    """
    found = sorted(folder.glob("[0-9]*.ipynb"))
    if not found:
        raise FedbenchError(
            f"There are no notebooks in {folder}: figures are drawn from a checkout of the "
            "repository, so clone it and start there."
        )
    return found


def check_parameters(notebook: Path, given: Parameters) -> None:
    """Refuse a notebook unless its parameters cell declares exactly what it is given.

    Papermill would only warn of an unknown one, and run on with defaults for a missing one.

    Raises:
        FedbenchError: naming the notebook and the parameters.
    """
    declared = declared_parameters(notebook)
    unknown, missing = sorted({*given} - declared), sorted(declared - {*given})
    if unknown or missing:
        problems = [f"does not declare {', '.join(unknown)[:300]}"] if unknown else []
        problems += [f"is not given {', '.join(missing)[:300]}"] if missing else []
        raise FedbenchError(
            f"Notebook {notebook.name} {' and '.join(problems)}: its cell tagged 'parameters' must "
            f"declare exactly {', '.join(sorted(given))}."
        )


def declared_parameters(notebook: Path) -> set[str]:
    """Names assigned in the notebook's parameters cell; none if there is no such cell.

    Raises:
        FedbenchError: the file cannot be read as a notebook.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "no cell with tag parameters": said by our caller
            return set(papermill.inspect_notebook(str(notebook)))
    except Exception as error:  # nbformat raises whatever it stumbles over
        reason = " ".join(str(error).split())[:200]
        raise FedbenchError(
            f"Notebook {notebook} cannot be read ({reason}): restore it with git checkout."
        ) from None


def execute_all(sources: Sequence[Path], folder: Path, parameters: Parameters) -> list[Path]:
    """Execute notebooks one after the other, with progress and time left on the terminal.

    Raises:
        FedbenchError: the first one that failed; copies of those before it stay.
    """
    from tqdm import tqdm

    done = []
    with tqdm(sources, desc="notebooks", unit="notebook") as bar:
        for source in bar:
            bar.set_postfix_str(source.stem)
            done.append(execute(source, folder / source.name, parameters))
    return done


def execute(source: Path, target: Path, parameters: Parameters) -> Path:
    """Execute one notebook in the working directory and keep its copy as ``target``.

    Raises:
        FedbenchError: a cell failed, its kernel did not start or died, or the copy cannot be
            written.
    """
    running = target.with_suffix(".running.ipynb")
    failed = target.with_suffix(".failed.ipynb")
    try:
        make_folder(target.parent)
        _papermill(source, running, parameters)
        replace(running, target)
        failed.unlink(missing_ok=True)
        write_origin(target.parent, target.stem, {"notebook": source.name})
    except OSError as error:
        raise refused(target, error) from None
    except FedbenchError as error:
        if not running.exists():
            raise
        with on_disk(failed):
            running.replace(failed)
        raise FedbenchError(f"{error} The copy with its output is {failed}.") from None
    return target


def _papermill(source: Path, target: Path, parameters: Parameters) -> None:
    """Run papermill, and put what went wrong in a sentence."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from zmq import ZMQError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            dict(parameters),
            kernel_name=KERNEL,
            cwd=str(Path.cwd()),
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # it tells of its own ports and end
        )
    except papermill.PapermillExecutionError as error:
        first = next((line for line in error.source.splitlines() if line.strip()), "")
        raise FedbenchError(
            f"Notebook {source.name} failed in cell {error.exec_count} ({first.strip()}): "
            f"{error.ename}: {error.evalue}."
        ) from None
    except DeadKernelError:
        raise FedbenchError(
            f"The kernel of notebook {source.name} died, perhaps for lack of memory: start again."
        ) from None
    except NoSuchKernel:
        raise FedbenchError(
            f"Notebook {source.name} needs the Jupyter kernel {KERNEL}, which is not installed "
            "here: pip install ipykernel."
        ) from None
    except (CellControlSignal, RuntimeError, ZMQError) as error:
        raise FedbenchError(
            f"Notebook {source.name} did not finish ({type(error).__name__}: {error}): start again."
        ) from None
