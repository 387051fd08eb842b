"""The corpus as data: which package is read how, under which licence, up to which size."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedbench.pretraining.readers import Page, read_dictionary, read_markup, read_plain

Reader = Callable[[Iterable[Path]], Iterator[Page]]


@dataclass(frozen=True)
class Source:
    """One package of the archive and the part of it that enters the corpus."""

    package: str
    licence: str
    reader: Reader
    patterns: tuple[str, ...]
    max_characters: int


_DOC = "usr/share/doc"
_KDE = "usr/share/doc/HTML/en"
_DICT = "usr/share/dictd"

# The cap keeps any one source from dominating; finance and medicine come whole.
SOURCES = (
    Source(
        "gnucash-docs",
        "GFDL-1.1+ (no invariant sections)",
        read_markup,
        (f"{_DOC}/gnucash-docs/gnucash-*-en/*.html",),
        3_000_000,
    ),
    Source(
        "kmymoney-common",
        "GFDL-1.2+ (no invariant sections)",
        read_markup,
        (f"{_KDE}/kmymoney/*.docbook",),
        3_000_000,
    ),
    Source(
        "skrooge-common",
        "GFDL-1.2+ (no invariant sections)",
        read_markup,
        (f"{_KDE}/skrooge/*.docbook",),
        1_000_000,
    ),
    Source("grisbi-common", "GPL-2+", read_markup, (f"{_DOC}/grisbi/en/*.html",), 1_000_000),
    Source(
        "homebank-data", "GPL-2+", read_markup, (f"{_DOC}/homebank-data/help/*.html",), 1_000_000
    ),
    Source("hledger", "GPL-3+", read_plain, (f"{_DOC}/hledger/*.info.gz",), 1_000_000),
    Source("ledger", "BSD-3-clause", read_markup, (f"{_DOC}/ledger/ledger3.html",), 1_000_000),
    Source(
        "gnumeric-doc",
        "GFDL-1.1+ (no invariant sections)",
        read_markup,
        ("usr/share/help/C/gnumeric/*.xml",),
        1_500_000,
    ),
    Source(
        "gnumed-doc", "GPL-2+", read_markup, (f"{_DOC}/gnumed/user-manual/**/*.html",), 1_500_000
    ),
    Source(
        "dict-gcide",
        "GPL-2+",
        read_dictionary,
        (f"{_DICT}/gcide.dict.dz",),
        3_500_000,
    ),
    Source(
        "dict-foldoc",
        "GFDL-1.1+ (no invariant sections)",
        read_dictionary,
        (f"{_DICT}/foldoc.dict.dz",),
        1_500_000,
    ),
    Source("dict-devil", "public domain", read_plain, (f"{_DICT}/devil.dict.dz",), 500_000),
    Source(
        "jargon-text",
        "public domain",
        read_plain,
        (f"{_DOC}/jargon-text/jargon.txt.gz",),
        2_000_000,
    ),
    Source("anarchism", "GPL-2", read_markup, (f"{_DOC}/anarchism/html/*.html",), 2_500_000),
    Source(
        "debian-handbook",
        "GPL-2+ or CC-BY-SA-3.0",
        read_markup,
        (f"{_DOC}/debian-handbook/html/en-US/*.html",),
        1_000_000,
    ),
    Source(
        "debian-history", "GPL-2+", read_markup, (f"{_DOC}/debian-history/**/*.en.html",), 300_000
    ),
    Source(
        "gnome-user-docs", "CC-BY-SA-3.0", read_markup, ("usr/share/help/C/**/*.page",), 700_000
    ),
    Source(
        "libreoffice-help-en-us",
        "MPL-2.0",
        read_markup,
        (
            "usr/share/libreoffice/help/en-US/text/scalc/**/*.html",
            "usr/share/libreoffice/help/en-US/text/swriter/**/*.html",
        ),
        900_000,
    ),
)


def source_pages(source: Source, tree: Path) -> Iterator[Page]:
    """Yield the raw pages of a source in the order of the file names."""
    paths = {path for pattern in source.patterns for path in tree.glob(pattern)}
    yield from source.reader(sorted(path for path in paths if path.is_file()))
