"""What a user sees: the table of a benchmark and where its files are; the tables of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedbench.bench import figure, records
from fedbench.bench.profiling import SHORT_RUN, lines, operators, phases_of
from fedbench.bench.shapes import SHAPES, SIZES, Work
from fedbench.errors import FedbenchError
from fedbench.paths import home
from fedbench.report.writing import markdown

FIGURES = Path("figures/bench")  #: in the checkout


def finish(record: Mapping[str, Any], *, keep: bool) -> str:
    """Write the record and its figure beside all earlier versions; return what to print.

    Args:
        record: from :func:`fedbench.bench.measuring.measure`.
        keep: whether it becomes one of the recorded versions, or stays in ``build/bench/``.

    Raises:
        FedbenchError: a recorded version cannot be read, or a folder cannot be written.
    """
    earlier = [
        other for other in records.recorded() if records.version(other) != records.version(record)
    ]
    path = records.write(record, records.RECORDED if keep else home() / "bench")
    drawn = figure.save([*earlier, record], FIGURES if keep else home() / "bench")
    table = markdown(figure.shown(figure.over_versions([record])))
    return f"{table}\nRecord: {path}\nFigure and table: {drawn}"


def drawn() -> str:
    """Draw the recorded versions again; return what to print.

    Raises:
        FedbenchError: there is none, or one cannot be read.
    """
    found = records.recorded()
    if not found:
        raise FedbenchError(
            f"No version is recorded in {records.RECORDED}: "
            "measure one with python -m fedbench.bench --record."
        )
    return f"Figure and table: {figure.save(found, FIGURES)}"


def profiled() -> str:
    """Phases of a short run and operators of training steps, as text."""
    found = [lines("A short federated run, by phase", phases_of(SHORT_RUN))]
    for shape in SHAPES.values():
        step = operators(SIZES["7M"], shape, Work(steps=4))
        title = f"A training step of 7M parameters, {shape.name}, by operator"
        found.append(lines(title, step, "ms", 1000.0))
    return "\n\n".join(found)
