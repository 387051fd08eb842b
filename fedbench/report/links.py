"""What the pages of a report lead to, and what a browser would run of them."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

_ACTIVE = frozenset("script iframe frame object embed applet form input button base".split())
_RUN = ("javascript:", "vbscript:", "data:text")


class _Links(HTMLParser):
    """Collects what a page links to or loads, the names inside it, and what is not only shown."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.active += [f"<{tag}>"] if tag in _ACTIVE else []
        self.active += [f"{name} of <{tag}>" for name in given if name.startswith("on")]
        addresses = (str(given[key]).strip().lower() for key in ("href", "src") if given.get(key))
        self.active += [one[:20] for one in addresses if one.startswith(_RUN)]
        self.names |= {str(given["id"])} if given.get("id") else set()
        self.targets += [str(given[key]) for key in ("href", "src") if given.get(key)]


def broken_links(folder: Path) -> list[str]:
    """Links of the pages in ``folder`` that lead to nothing in it, as ``page: link``.

    Pages elsewhere may be linked to; only what a page would load from elsewhere is refused, and
    the pages have nothing but links and pictures.
    """
    pages = {path.name: _read(path) for path in sorted(folder.glob("*.html"))}
    return [
        f"{name}: {target[:80]}"
        for name, page in pages.items()
        for target in page.targets
        if not _leads_somewhere(folder, pages, name, target)
    ]


def active_parts(folder: Path) -> list[str]:
    """What of the pages in ``folder`` a browser would run, send or embed, as ``page: part``.

    Titles and notes come from files that others may have written.
    """
    pages = {path.name: _read(path) for path in sorted(folder.glob("*.html"))}
    return [f"{name}: {part}" for name, page in pages.items() for part in page.active]


def _read(page: Path) -> _Links:
    parser = _Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def _leads_somewhere(folder: Path, pages: Mapping[str, _Links], here: str, target: str) -> bool:
    if target.startswith(("https://", "http://", "mailto:", "data:")):
        return True
    path, _, name = target.partition("#")
    page = path or here
    if not (folder / page).is_file():
        return False
    return not name or (page in pages and name in pages[page].names)
