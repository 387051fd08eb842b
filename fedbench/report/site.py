"""One folder of plain HTML from the executed notebooks, for a browser or a phone, with no network.

Nothing is computed here: pages show what the notebooks drew. Pictures stand in the pages as data,
style is one small sheet in each page, there is no script, and a link that leads nowhere is refused.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedbench import __version__, profiles
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_bytes
from fedbench.paths import CHECKOUT, PACKAGE, home, within
from fedbench.report.build import find_notebooks
from fedbench.report.folding import MORE, folded, folded_page
from fedbench.report.links import active_parts, broken_links
from fedbench.report.origin import SYNTHETIC
from fedbench.report.score_figure import NAME as MAIN_FIGURE
from fedbench.report.scores import ACCURACY
from fedbench.report.verdicts import points
from fedbench.report.writing import check_drawn, markdown

CLAIMS, CONTROLS = "claims", "lookalike_controls"
_TEMPLATES = PACKAGE / "report" / "pages"
_KINDS = {"csv": "numbers", "json": "provenance", "md": "Markdown", "tex": "LaTeX", "pdf": "PDF"}
_AUDIT = (
    *("task_title", "rows", "distinct", "duplicates", "conflicts", "overlap_removed"),
    *("near_repeats", "shared_by_owners", "n_train", "n_validation", "n_test", "trained_on"),
    *("tested_on", "balance", "cut", "split", "licence", "files", "synthetic", "note"),
)
_SAID_OF_LOOKALIKES = (
    "Results on tasks marked synthetic are on look-alikes: invented content that tests the "
    "machinery, never evidence about language models or for the paper’s claims."
)
_BOX = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table'
_INTERVAL = re.compile(r"(<td[^>]*>[^<\[]*\[[^<,\]]*), ")
_MENU = (("index.html", "Overview"), ("figures.html", "Figures"), ("provenance.html", "Provenance"))


@dataclass(frozen=True)
class Drawing:
    """A table or figure of the profile, with the links to its files."""

    name: str
    caption: str
    image: str  #: the picture as a data URI; empty for a table
    files: tuple[tuple[str, str], ...]  #: (link, words)

    @property
    def words(self) -> str:
        """Its name as people read it."""
        return self.name.replace("_", " ").capitalize()

    @property
    def folded(self) -> tuple[str, str]:
        """What of its caption is shown at once, and the rest."""
        return folded(self.caption)


def build_site(profile: str, figures: Path | None = None, notebooks: Path | None = None) -> Path:
    """Write the report of ``profile`` and return its first page.

    Args:
        profile: name of a profile, or a file of one's own.
        figures: folder of its tables and figures, by default ``figures/<profile>``.
        notebooks: folder of the notebooks whose executed copies are shown.

    Raises:
        Damaged: a file is not what was drawn.
        FedbenchError: a notebook was not executed, nothing was drawn, or a link leads nowhere.
    """
    spec, short = profiles.read_spec(profile), profiles.short_name(profile)
    drawn = figures or Path("figures") / short
    copies = executed(find_notebooks(notebooks or within(CHECKOUT, spec.notebooks)), profile)
    for folder in dict.fromkeys([drawn, *(path.parent for path in copies)]):
        check_drawn(folder)
    drawings = find_drawings(drawn, profile)
    pages = {path.stem + ".html": notebook_page(path) for path in copies}
    marked = any(SYNTHETIC in drawing.caption for drawing in drawings)
    common = {
        "style": (_TEMPLATES / "style.css").read_text(encoding="utf-8"),
        "version": __version__,
        "profile": short,
        "menu": [*_MENU, *((link, title) for link, (title, _) in pages.items())],
        "synthetic": _SAID_OF_LOOKALIKES if marked else "",
        "drawings": drawings,
        "more": MORE,
    }
    first: dict[str, object] = {
        "title": f"fedbench: profile {short}",
        "about": spec.title,
        "headlines": [one for one in drawings if one.name.startswith(MAIN_FIGURE)],
        "main_table": _table_page(drawn / "main_table.md"),
        "claims": claims_section(drawn / f"{CLAIMS}.json", short),
        "audit": _audit_table(drawn / "data_audit.csv"),
        "notebooks": [(link, title) for link, (title, _) in pages.items()],
    }
    origins = distinct_origins(drawn)
    rendered: dict[str, dict[str, object]] = {
        **{link: {"title": title, "body": body} for link, (title, body) in pages.items()},
        "figures.html": {"title": "Figures"},
        "provenance.html": {"title": "Provenance", "origins": origins},
        "index.html": first,
    }
    target = home() / "report" / short
    shutil.rmtree(target, ignore_errors=True)
    for path in _files(drawn):
        write_bytes(target / "files" / path.name, path.read_bytes())
    for link, values in rendered.items():
        page = _template(link)(here=link, **{**common, **values})
        write_bytes(target / link, page.encode())
    if active := active_parts(target):
        raise FedbenchError(
            f"The report in {target} holds what a browser would run or load ({'; '.join(active)}): "
            "take it out of the notebook, or of the title or note in the task's file."
        )
    if broken := broken_links(target):
        raise FedbenchError(
            f"The report in {target} has links that lead nowhere ({'; '.join(broken)}): "
            "correct them in the notebook."
        )
    return target / "index.html"


def executed(sources: Sequence[Path], profile: str) -> list[Path]:
    """The executed copies of ``sources``.

    Raises:
        FedbenchError: naming those that have none.
    """
    folder = home() / "notebooks" / profiles.short_name(profile)
    copies = [folder / source.name for source in sources]
    if missing := [path.name for path in copies if not path.exists()]:
        raise FedbenchError(
            f"There is no executed copy of {', '.join(missing)} in {folder}: "
            f"run make figures PROFILE={profile} first."
        )
    return copies


def find_drawings(folder: Path, profile: str) -> list[Drawing]:
    """Every table and figure in ``folder``, by name.

    Raises:
        FedbenchError: there is none.
    """
    by_name: dict[str, dict[str, Path]] = {}
    for path in _files(folder):
        by_name.setdefault(path.stem, {})[path.suffix[1:]] = path
    by_name.pop(CLAIMS, None)
    if not by_name:
        raise FedbenchError(
            f"There are no tables and figures in {folder}: run make figures PROFILE={profile}."
        )
    return [_drawing(name, kinds) for name, kinds in sorted(by_name.items())]


def _drawing(name: str, kinds: Mapping[str, Path]) -> Drawing:
    caption = str(read_json(kinds["json"]).get("caption", "")) if "json" in kinds else ""
    if name == CONTROLS and not caption:  # written before it had one
        caption = f"Controls of the look-alikes: {SYNTHETIC} data."
    links = [(f"files/{kinds[k].name}", words) for k, words in _KINDS.items() if k in kinds]
    return Drawing(name, caption, data_uri(kinds["png"]) if "png" in kinds else "", tuple(links))


def _files(folder: Path) -> list[Path]:
    return sorted(path for kind in ("png", *_KINDS) for path in folder.glob(f"*.{kind}"))


def data_uri(picture: Path) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def distinct_origins(folder: Path) -> list[dict[str, Any]]:
    """How the runs behind all tables and figures were made; each way once, with all its runs."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        for origin in read_json(path).get("origins", []):
            made = {key: value for key, value in origin.items() if key not in ("runs", "inputs")}
            group = found.setdefault(
                json.dumps(made, sort_keys=True), made | {"runs": {}, "inputs": {}}
            )
            group["runs"] |= origin["runs"]
            group["inputs"] |= origin["inputs"]
    return list(found.values())


def notebook_page(path: Path) -> tuple[str, str]:
    """Title and HTML of an executed notebook, without scripts, style or anything to fetch."""
    import nbformat
    from nbconvert import HTMLExporter

    logging.getLogger("traitlets").setLevel(logging.ERROR)  # pictures are named below
    read = nbformat.read(str(path), as_version=4)
    exporter: Any = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(_as_shown(read))
    text = "\n".join(cell.source for cell in read.cells if cell.cell_type == "markdown")
    found = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    title = found.group(1) if found else path.stem
    named = body.replace("No description has been provided for this image", f"Figure of “{title}”")
    return title, scrolling(named)


def _as_shown(read: Any) -> Any:
    """A notebook without parameters that others replaced, the captions of its tables folded."""
    shown = copy.deepcopy(read)
    tags = [cell.metadata.get("tags", []) for cell in shown.cells]
    replaced = any("injected-parameters" in some for some in tags)
    shown.cells = [
        cell
        for cell, some in zip(shown.cells, tags, strict=True)
        if not (replaced and "parameters" in some)
    ]
    for output in (output for cell in shown.cells for output in cell.get("outputs", [])):
        if "text/markdown" in output.get("data", {}):
            output.data["text/markdown"] = folded_page(output.data["text/markdown"])
    return shown


def scrolling(body: str) -> str:
    """``body`` with each table, and each block of code, in a box that scrolls by itself.

    An interval in a table stays on one line.
    """
    boxed = body.replace("<table", _BOX).replace("</table>", "</table></div>")
    whole = _INTERVAL.sub(r"\1,&nbsp;", boxed)
    return whole.replace("<pre", '<pre tabindex="0"')


def from_markdown(text: str) -> str:
    """Markdown with tables, as HTML."""
    from nbconvert.filters.markdown import markdown2html

    return scrolling(str(markdown2html(text)))


def _table_page(path: Path) -> str:
    if not path.exists():
        return "<p>Not drawn.</p>"
    return from_markdown(folded_page(path.read_text(encoding="utf-8")))


def _audit_table(path: Path) -> str:
    import pandas as pd

    if not path.exists():
        return "<p>Not drawn.</p>"
    frame = pd.read_csv(path)
    return from_markdown(markdown(frame[[name for name in _AUDIT if name in frame]]))


def claims_section(path: Path, profile: str) -> str:
    """The claims with their verdicts as ``make verify`` wrote them; a sentence if it did not."""
    if not path.exists():
        return f"<p>Not verified yet: <code>make verify PROFILE={profile}</code>.</p>"
    content = read_json(path)
    checks, notes = content.get("checks", {}), content.get("notes", [])
    lines = [
        *_claim_lines(content["claims"], content["parts"]),
        *(f"- Check, {name}: {outcome}" for name, outcome in checks.items()),
        *(f"- Note: {note}" for note in notes),
    ]
    cells = from_markdown("\n".join(_cell_lines(content["parts"])))
    more = f"<details><summary>Every cell with its numbers</summary>{cells}</details>"
    return from_markdown("\n".join(lines)) + more


def _claim_lines(
    claims: Mapping[str, Mapping[str, Any]], parts: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    yield "| claim | part | compared | verdict | cells |"
    yield "| --- | --- | --- | --- | --- |"
    told: set[str] = set()
    for part in parts:
        claim, mark = claims[part["claim"]], " (synthetic)" if part.get("synthetic") else ""
        sentence = f"{part['claim']}. {claim['sentence']} ({claim['source']})"
        cells = (
            sentence if sentence not in told else part["claim"],
            f"{part['part']}{mark}",
            _compared(part["cells"][0]) if part["cells"] else "",
            f"**{part['verdict']}**",
            part["said"],
        )
        told.add(sentence)
        yield f"| {' | '.join(str(cell).replace('|', ' ') for cell in cells)} |"
    yield ""
    for name, claim in claims.items():
        yield f"- {name} again: {claim['command']} ({claim['time']}; {claim['hardware']})"


def _cell_lines(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every cell of every part with its numbers: differences in points, savings in %."""
    yield "| claim | part | task | backbone | method | partition | verdict | found | n | why |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for part in parts:
        for cell in part["cells"]:
            told = (
                *(part["claim"], part["part"], cell["task"], cell["backbone"], cell["method"]),
                *(cell["partition"], cell["verdict"], _found(cell), _n(cell), cell["reason"]),
            )
            yield f"| {' | '.join(str(value).replace('|', ' ') for value in told)} |"
    yield ""


def _found(cell: Mapping[str, Any]) -> str:
    """A difference of accuracies, or the share that is saved of a resource."""
    if cell["mean"] is None:
        return _compared(cell)
    mean, low, high = (points(cell[name]) for name in ("mean", "low", "high"))
    if not _of_accuracy(cell):
        return f"{_compared(cell)}: saves {mean} % [{low}, {high}]"
    return f"{_compared(cell)} = {mean} [{low}, {high}]"


def _compared(cell: Mapping[str, Any]) -> str:
    contrast = str(cell["contrast"])
    return contrast if _of_accuracy(cell) else contrast.replace(" − ", " against ")


def _of_accuracy(cell: Mapping[str, Any]) -> bool:
    return str(cell["metric"]).startswith(ACCURACY)


def _n(cell: Mapping[str, Any]) -> str:
    if cell["n_repeats"]:
        return f"{cell['n_repeats']} repeats"
    return f"{cell['n_seeds']} seeds, {cell['n_test']:,} items" if cell["n_test"] else ""


@lru_cache
def _template(link: str) -> Callable[..., str]:
    """What renders the page called ``link``: a template of its own, else the plain one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.select_template([f"{link}.j2", "page.html.j2"]).render
