"""What an exchange between machines is made of, and rounds over lines of several rates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.bench.between_table import PARTS, floor_of
from fedbench.files import write_bytes
from fedbench.report import style
from fedbench.report.figures import write_picture
from fedbench.report.writing import markdown, numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = Path("figures/bench")  #: in the checkout
_NAME = "between"
_SHORT = {
    "push": "to the SuperLink", "wait": "SuperNode asleep", "down": "to the site",
    "work": "work of the site", "over": "to the SuperNode", "back": "back at the server",
}  # fmt: skip
_HEIGHT = 5.6
_TONES = {
    "push": style.TONES[3], "wait": "0.8", "down": style.TONES[0], "work": style.TONES[4],
    "over": style.TONES[2], "back": style.TONES[1],
}  # fmt: skip
CAPTION = (
    "Loopback, all on one machine: medians. Above: an exchange in its parts, for the site whose "
    "answer came last, of empty messages and of a small federation's training. A SuperNode that "
    "found no message sleeps for 3 seconds, which is most of it. Below: a round of two sites over "
    "lines of their own between network namespaces, least and greatest as bars; dashed is what "
    "bytes and rate come to, with twice an exchange of empty messages and the sites' work."
)


def rows_of(found: Mapping[str, Any]) -> pd.DataFrame:
    """The numbers that are drawn: parts of exchanges, and seconds over lines."""
    import pandas as pd

    ours, lines = found["floor"]["found"]["ours"], found["lines"]["found"]
    exchanges = [(f"empty, {one['nodes']}", one) for one in ours]
    exchanges += [(f"training, {one['sites']}", one["train"]) for one in found["rounds"]["found"]]
    parts = [
        {"panel": "exchange", "what": what, "part": said, **one[part]}
        for what, one in exchanges
        for part, said in PARTS.items()
    ]
    floor = 2 * floor_of(2, ours)["seconds"]["median"]
    rates = [
        {
            "panel": "round", "what": one["codec"], "mbit": one["mbit"], **one["round"],
            "floor": floor, "work": one["work"], "transfer": one["seconds_computed"],
            "expected": floor + one["work"] + one["seconds_computed"],
        }
        for one in lines
        if one["own_grid"]
    ]  # fmt: skip
    return pd.DataFrame([*parts, *rates])


def draw(rows: pd.DataFrame) -> Figure:
    """Two panels, from :func:`rows_of`."""
    with style.look():
        figure = style.blank(_HEIGHT)
        above, below = figure.subplots(2, 1, height_ratios=(3, 2))
        _exchanges(above, rows[rows["panel"] == "exchange"])
        _rounds(below, rows[rows["panel"] == "round"])
        figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _exchanges(ax: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["what"]))
    left = dict.fromkeys(names, 0.0)
    for part, said in PARTS.items():
        widths = rows[rows["part"] == said].set_index("what")["median"].clip(lower=0)
        ax.barh(
            range(len(names)), [widths[name] for name in names], left=[left[n] for n in names],
            color=_TONES[part], label=_SHORT[part], height=0.7,
        )  # fmt: skip
        left = {name: left[name] + widths[name] for name in names}
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("seconds of an exchange")
    ax.set_title("messages, and how many sites", loc="left")


def _rounds(ax: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["what"]))
    for name, look in zip(names, style.apart(len(names)), strict=True):
        of_codec = rows[rows["what"] == name]
        ax.plot(of_codec["mbit"], of_codec["expected"], color=look.color, linestyle="--")
        around = [
            of_codec["median"] - of_codec["lowest"],
            of_codec["highest"] - of_codec["median"],
        ]
        ax.errorbar(
            of_codec["mbit"], of_codec["median"], yerr=around, color=look.color,
            marker=look.marker, linestyle="", label=name,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    ax.set_xlabel("Mbit/s of each site's line")
    ax.set_ylabel("seconds of a round")
    ax.legend(title="codec up")


def save(found: Mapping[str, Any], folder: Path) -> Path:
    """Write between.png, .pdf, .csv, .md and .json; return the picture's path.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    rows = rows_of(found)
    where = f"loopback, all on one machine: {found['floor']['hardware']}"
    write_picture(draw(rows), _NAME, folder, where)
    write_bytes(folder / f"{_NAME}.csv", numbers(rows))
    parts, rates = rows[rows["panel"] == "exchange"], rows[rows["panel"] == "round"]
    pages = [
        markdown(parts[["what", "part", "median", "lowest", "highest", "n"]]),
        markdown(rates[["what", "mbit", "median", "expected", "floor", "work", "transfer", "n"]]),
    ]
    write_bytes(folder / f"{_NAME}.md", "\n".join([CAPTION, "", *pages]).encode())
    origins = {leg: {k: v for k, v in one.items() if k != "found"} for leg, one in found.items()}
    write_origin(folder, _NAME, {"caption": CAPTION, "origins": origins})
    return folder / f"{_NAME}.png"
