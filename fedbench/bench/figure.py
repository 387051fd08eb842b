"""Every target as a panel, every recorded version as a row in it, so that a regression is seen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.bench.records import version
from fedbench.bench.shapes import SIZES
from fedbench.bench.table import frame
from fedbench.bench.targets import TARGETS, Target
from fedbench.files import write_bytes
from fedbench.records import Record
from fedbench.report import style
from fedbench.report.figures import write_picture
from fedbench.report.writing import markdown, numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _PANEL, _FRAME = 0.2, 0.42, 0.65  #: inches: a version, what a panel adds, legend and remarks
_TITLE = 38  #: characters above a panel
_SHOWN = 6  #: versions: what a page has room for; the CSV has all
_NAMES = ("2M", "7M", "30M", "")
_MARKERS = dict(zip(_NAMES, "os^D", strict=True))
CAPTION = (
    "Medians of interleaved repeats on one thread in fp32, least and greatest as lines; whole "
    "processes once, and none of them with dropout. Dashed: the greatest value asked for. Rows are "
    "recorded versions, each on the machine that its record names: values of two machines are not "
    "to be compared."
)


def over_versions(records: Sequence[Record]) -> pd.DataFrame:
    """The rows of all records, each with its version, its machine and its machine's peak."""
    import pandas as pd

    frames = [
        frame(record).assign(
            version=version(record),
            hardware=record["provenance"]["hardware"],
            peak_gflops=record["peak_flops"] / 1e9,
        )
        for record in records
    ]
    return pd.concat(frames, ignore_index=True)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel per target, from :func:`over_versions`."""
    versions = list(dict.fromkeys(rows["version"]))[-_SHOWN:]
    with style.look():
        height = _FRAME + len(TARGETS) * (_PANEL + _LINE * len(versions))
        figure = style.blank(height)
        panels = figure.subplots(len(TARGETS), 1, squeeze=False)[:, 0]
        for ax, target in zip(panels, TARGETS, strict=True):
            _panel(ax, rows, target, versions)
        handles = {
            label: handle
            for ax in panels
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles, title="parameters", loc="outside upper center", ncols=3
        )
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, target: Target, versions: Sequence[str]) -> None:
    of_target = rows[rows["quantity"] == target.quantity]
    if target.shape is not None:
        of_target = of_target[of_target["shape"] == target.shape]
    elif (of_target["shape"] != "").any():
        of_target = of_target[of_target["shape"] == "one-word answers"]
    for place, name in enumerate(versions):
        of_version = of_target[of_target["version"] == name].to_dict("records")
        measured = [row for row in of_version if row["n"]]
        for row in measured:
            _point(ax, row, place)
        if not measured:
            said = of_version[0]["verdict"] if of_version else "not measured"
            ax.text(0.01, place, said, color="0.35", style="italic", va="center")
    ax.axvline(target.most, color="0.35", linestyle="--", linewidth=0.8)
    shape = f", {target.shape}" if target.shape else ""
    ax.set_title(textwrap.fill(f"{target.quantity}{shape}", _TITLE), loc="left")
    ax.set_yticks(range(len(versions)), [name.removeprefix("20") for name in versions])
    ax.set_ylim(len(versions) - 0.5, -0.5)
    ax.set_xlim(0, 1.1 * max([target.most, *of_target["highest"].dropna()]))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def _point(ax: Axes, row: dict[Any, Any], place: int) -> None:
    size = str(row["size"])
    color = style.TONES[_NAMES.index(size)] if size in SIZES else "0.2"
    around = [[row["median"] - row["lowest"]], [row["highest"] - row["median"]]]
    ax.errorbar(
        row["median"],
        place,
        xerr=around,
        marker=_MARKERS.get(size, "D"),
        color=color,
        linestyle="",
        elinewidth=0.8,
        label=size,
    )


def save(records: Sequence[Record], folder: Path) -> Path:
    """Write benchmark.png, .pdf, .csv, .md and .json; return the picture's path.

    The page shows the last record only.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    rows = over_versions(records)
    last = rows[rows["version"] == version(records[-1])]
    write_picture(draw(rows), "benchmark", folder, machines(rows))
    write_bytes(folder / "benchmark.csv", numbers(rows))
    page = "\n".join([CAPTION, "", markdown(shown(last)), ""])
    write_bytes(folder / "benchmark.md", page.encode())
    origins = {version(record): record["provenance"] for record in records}
    write_origin(folder, "benchmark", {"caption": CAPTION, "origins": origins})
    return folder / "benchmark.png"


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that a page shows."""
    columns = ["quantity", "size", "shape", "unit", "median", "lowest", "highest", "n"]
    return rows[[*columns, "target", "verdict"]]


def machines(rows: pd.DataFrame) -> str:
    """What the figure says of where it was measured."""
    found = list(dict.fromkeys(rows["hardware"]))
    return "; ".join(found) if len(found) == 1 else f"{len(found)} machines: rows differ by them"
