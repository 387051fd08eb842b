"""Tables on disk: numbers as CSV, the page as Markdown and LaTeX, the runs behind as JSON."""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.errors import Damaged
from fedbench.files import read_json, write_bytes, write_json
from fedbench.hashing import sha256_file
from fedbench.report.origin import behind, origins, remarks
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

FILES = "files"  #: in the JSON beside a table or figure: SHA-256 of its files, by name
#: columns that hold fractions and are printed in %
PERCENT = {
    *("mean", "ci_low", "ci_high", "chance", "majority", "blind", "smallest_difference"),
    *("trainable_share", "least", "greatest", "gain", "gain_low", "gain_high"),
    *("base", "local", "federated", "centralized", "right", "wrong"),
    *("gain_over_local", "gain_over_base", "target"),
    *("best", "last", "fall", "greatest_fall", "worst", "range", "range_low", "range_high"),
    *("sd", "sd_low", "sd_high", "sd_by_chance", "standard_error"),
    *("contribution", "contribution_low", "contribution_high", "all_sites", "without_site"),
    *("gain_over_local_low", "gain_over_local_high", "gain_over_centralized"),
    *("gain_over_centralized_low", "gain_over_centralized_high"),
    *("honest", "change", "change_low", "change_high", "hostile", "hostile_examples"),
    *("success", "success_low", "success_high", "success_without_trigger", "success_of_honest"),
    *("open", "open_low", "open_high"),
}

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "∞": r"$\infty$",
    "α": r"$\alpha$",
    "’": "'",
}


def write_table(
    frame: pd.DataFrame,
    name: str,
    folder: Path,
    runs: Sequence[Run],
    caption: str,
    columns: Sequence[str] | None = None,
) -> str:
    """Write ``frame`` as ``name``.csv, .md, .tex and .json; return the Markdown, to be shown.

    The CSV holds every column, in fractions. The page shows ``columns`` only, in %, between its
    caption and notes that say what is synthetic, not comparable, a subset, or recorded by older
    code.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    shown = frame[list(columns)] if columns else frame
    used = behind(frame, runs)
    notes = remarks(used)
    whole = " ".join([caption, *notes])
    page = "\n".join([caption, "", markdown(shown), *(f"- {note}" for note in notes), ""])
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_bytes(folder / f"{name}.md", page.encode())
    write_bytes(folder / f"{name}.tex", latex(shown, name, whole).encode())
    write_origin(folder, name, provenance(used, whole))
    return page


def write_origin(folder: Path, name: str, origin: Mapping[str, Any]) -> None:
    """Write ``name``.json: where the files ``name``.* came from, and what they are, by SHA-256.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    target = folder / f"{name}.json"
    beside = sorted(path for path in folder.glob(f"{glob.escape(name)}.*") if path != target)
    write_json(target, {**origin, FILES: {path.name: sha256_file(path) for path in beside}})


def check_drawn(folder: Path) -> None:
    """Make sure that tables and figures are what was drawn, as far as the JSON beside them says.

    Raises:
        Damaged: one is not.
    """
    for origin in sorted(folder.glob("*.json")):
        content = read_json(origin)
        files = content.get(FILES, {}) if isinstance(content, dict) else {}
        for name, digest in files.items():
            path = folder / name
            if path.exists() and sha256_file(path) != digest:
                raise Damaged(f"{path} is not the file that was drawn: draw it with make figures.")


def provenance(runs: Sequence[Run], caption: str) -> dict[str, Any]:
    """Everything needed to find out where a table or figure came from."""
    return {"caption": caption, "origins": origins(runs)}


def numbers(frame: pd.DataFrame) -> bytes:
    """The frame as CSV, fractions with six digits."""
    text: str = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode()


def markdown(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table."""
    return markdown_lines(_cells(frame))


def markdown_lines(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the first of them the head, as a Markdown table."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def latex(frame: pd.DataFrame, name: str, caption: str) -> str:
    """The frame as a LaTeX table; needs the packages booktabs, graphicx and textcomp.

    Of a frame without rows only the caption is left, as a sentence.
    """
    if frame.empty:
        return f"{escape(caption)}\n"
    head, *body = [[escape(cell) for cell in line] for line in _cells(frame)]
    rows = [f"{' & '.join(line)} \\\\" for line in body]
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{name}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{_alignment(frame)}}}",
        r"\toprule",
        f"{' & '.join(head)} \\\\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """``text`` for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)


def _alignment(frame: pd.DataFrame) -> str:
    return "".join("r" if kind.kind in "if" else "l" for kind in frame.dtypes)


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    head = [_title(str(column)) for column in frame.columns]
    rows = frame.to_dict("records")
    return [head, *([render(str(name), value) for name, value in row.items()] for row in rows)]


def _title(column: str) -> str:
    words = column.replace("_", " ")
    return f"{words} (%)" if column in PERCENT else words


def render(column: str, value: Any) -> str:
    """One value as people read it: fractions in %, small p-values as a bound, nothing for NaN."""
    if value is None or value != value:
        return ""
    if isinstance(value, str | bool):
        return str(value)
    if math.isinf(value):
        return "∞"
    if column.startswith("p_"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if column in PERCENT:
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if value == int(value) or value > 100 else f"{value:.3g}"
