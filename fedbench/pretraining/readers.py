"""Readers: each turns one unpacked package into pages of raw paragraphs."""

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from fedbench.limits import DATA_BYTES, read_within, unpacked

Page = list[str]

# HTML, DocBook and Mallard share one reader: their block and code tags never clash.
_BLOCKS = frozenset(
    "p para simpara li dd dt td th h1 h2 h3 h4 title blockquote div section".split()
)
_DROPPED = frozenset(
    "script style pre programlisting screen literallayout nav header footer legalnotice".split()
)
_HEADWORD = re.compile(r"\n(?=\S)")
_BLANK_LINES = re.compile(r"\n\s*\n")
_LINK = re.compile(r"\{([^}]*)\}", re.DOTALL)
_BRACKETED = re.compile(r"\[[^\]]{0,80}\]|\([0-9-]{10}\)|\\[^\\\n]*\\")
_INFO_NODE = re.compile(r"\x1f[^\x1f]*?Node:[^\n]*\n")


class _Paragraphs(HTMLParser):
    """Collect the text of block tags and leave out code and page furniture."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: Page = []
        self._pieces: list[str] = []
        self._dropping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start a new paragraph at a block tag and go silent at a code tag."""
        self._dropping += tag in _DROPPED
        if tag in _BLOCKS:
            self._end_paragraph()

    def handle_endtag(self, tag: str) -> None:
        """End the paragraph of a block tag and the silence of a code tag."""
        if tag in _DROPPED and self._dropping:
            self._dropping -= 1
        if tag in _BLOCKS:
            self._end_paragraph()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Ignore an empty tag: it holds no text and must not open a silence."""

    def handle_data(self, data: str) -> None:
        """Add running text to the open paragraph."""
        if not self._dropping:
            self._pieces.append(data)

    def close(self) -> None:
        """Keep a last paragraph that no tag closed."""
        super().close()
        self._end_paragraph()

    def _end_paragraph(self) -> None:
        if text := "".join(self._pieces).strip():
            self.found.append(text)
        self._pieces = []


def read_text(path: Path) -> str:
    """Read a text file, plain or gzip, and drop bytes that are not UTF-8."""
    raw = read_within(path, DATA_BYTES)
    if raw[:2] == b"\x1f\x8b":
        raw = unpacked(path, DATA_BYTES)
    return raw.decode("utf-8", errors="ignore")


def markup_paragraphs(markup: str) -> Page:
    """Return the paragraphs of an HTML, DocBook or Mallard page."""
    parser = _Paragraphs()
    parser.feed(markup)
    parser.close()
    return parser.found


def read_markup(files: Iterable[Path]) -> Iterator[Page]:
    """Read each HTML, DocBook or Mallard file as one page."""
    for path in files:
        yield markup_paragraphs(read_text(path))


def read_dictionary(files: Iterable[Path]) -> Iterator[Page]:
    """Read each dictd entry as a page; links and editor's marks become plain words."""
    for path in files:
        for entry in _HEADWORD.split(read_text(path)):
            plain = _BRACKETED.sub("", _LINK.sub(r"\1", entry))
            yield [" ".join(_BLANK_LINES.split(plain))]


def read_plain(files: Iterable[Path]) -> Iterator[Page]:
    """Read each plain-text or info file as one page, split at blank lines."""
    for path in files:
        yield _BLANK_LINES.split(_INFO_NODE.sub("\n\n", read_text(path)))
