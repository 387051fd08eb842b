"""Overlap of a corpus with the texts of a task, so that no task leaks into pretraining."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedbench.pretraining.corpus_file import read_documents

WORDS_PER_NGRAM = 8
_WORD = re.compile(r"[a-z0-9]+")
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """What was looked for in the corpus and what of it was found."""

    ngrams_checked: int
    names_checked: int
    shared_ngrams: tuple[str, ...]
    shared_names: tuple[str, ...]


def words(text: str) -> list[str]:
    """Return the lower-case words and numbers of a text."""
    return _WORD.findall(text.lower())


def ngrams(text: str, length: int = WORDS_PER_NGRAM) -> Iterator[Ngram]:
    """Yield every run of so many words."""
    found = words(text)
    for start in range(len(found) - length + 1):
        yield tuple(found[start : start + length])


def find_overlap(documents: Iterable[str], texts: Iterable[str], names: Iterable[str]) -> Overlap:
    """Report the word 8-grams of ``texts`` and the names that occur in the documents."""
    wanted = {ngram for text in texts for ngram in ngrams(text)}
    wanted_names = {tuple(words(name)) for name in names} - {()}
    longest = max((len(name) for name in wanted_names), default=0)
    shared: set[Ngram] = set()
    shared_names: set[Ngram] = set()
    for document in documents:
        shared.update(wanted.intersection(ngrams(document)))
        for length in range(1, longest + 1):
            shared_names.update(wanted_names.intersection(ngrams(document, length)))
    return Overlap(len(wanted), len(wanted_names), _joined(shared), _joined(shared_names))


def check_corpus(path: Path, texts: Iterable[str], names: Iterable[str]) -> Overlap:
    """Report the overlap of a kept corpus file with the texts and names of a task."""
    return find_overlap(read_documents(path), texts, names)


def _joined(found: set[Ngram]) -> tuple[str, ...]:
    return tuple(sorted(" ".join(ngram) for ngram in found))
