"""Overlap of a corpus with the texts of a task, so that no task leaks into pretraining."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from fedbench.pretraining.corpus_file import read_documents

WORDS_PER_NGRAM = 8
_SHORTEST_TEXT = 5
_WORD = re.compile(r"[a-z0-9]+")
Ngram = tuple[str, ...]


class Finder(Protocol):
    """Something that reads a corpus, a document at a time, and remembers what it found."""

    def read(self, document: str) -> None:
        """Look through one document."""


class NameFinder:
    """Finds names as whole words, in any case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._wanted = {tuple(words(name)) for name in names} - {()}
        self._lengths = sorted({len(name) for name in self._wanted})
        self._found: set[Ngram] = set()

    def read(self, document: str) -> None:
        """Look through one document."""
        for length in self._lengths:
            self._found.update(self._wanted.intersection(ngrams(document, length)))

    def report(self) -> dict[str, int | list[str]]:
        """Say how many names were looked for and which were found."""
        found = sorted(" ".join(name) for name in self._found)
        return {"names_checked": len(self._wanted), "names_found": found}


class TextFinder:
    """Finds texts, such as the questions of a task, whole or in runs of eight words."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ngrams: set[Ngram] = set()
        self._beginnings: dict[Ngram, list[Ngram]] = {}
        for text in texts:
            self._ngrams.update(ngrams(text))
            if len(whole := tuple(words(text))) >= _SHORTEST_TEXT:
                self._beginnings.setdefault(whole[:WORDS_PER_NGRAM], []).append(whole)
        self._lengths = {WORDS_PER_NGRAM, *map(len, self._beginnings)}
        self._found: set[Ngram] = set()
        self._whole: set[Ngram] = set()

    def read(self, document: str) -> None:
        """Look through one document."""
        read = tuple(words(document))
        for length in self._lengths:
            for start, ngram in enumerate(_runs(read, length)):
                if ngram in self._ngrams:
                    self._found.add(ngram)
                for whole in self._beginnings.get(ngram, ()):
                    if read[start : start + len(whole)] == whole:
                        self._whole.add(whole)

    def report(self, texts: Iterable[str]) -> dict[str, int | list[str]]:
        """Say what was looked for and found of some of the texts."""
        wanted = [(tuple(words(text)), set(ngrams(text))) for text in texts]
        every = {ngram for _, runs in wanted for ngram in runs}
        whole = {text for text, _ in wanted} & self._whole
        long = {text for text in whole if len(text) >= WORDS_PER_NGRAM}
        return {
            "texts": len(wanted),
            "texts_below_8_words": sum(not runs for _, runs in wanted),
            "texts_below_5_words": sum(len(text) < _SHORTEST_TEXT for text, _ in wanted),
            "ngrams_checked": len(every),
            "ngrams_found": _joined(every & self._found),
            "texts_with_a_found_ngram": sum(not runs.isdisjoint(self._found) for _, runs in wanted),
            "whole_texts_found": _joined(long),
            "whole_texts_of_5_to_7_words_found": _joined(whole - long),
        }


def words(text: str) -> list[str]:
    """Return the lower-case words and numbers of a text."""
    return _WORD.findall(text.lower())


def ngrams(text: str, length: int = WORDS_PER_NGRAM) -> Iterator[Ngram]:
    """Yield every run of so many words."""
    return _runs(tuple(words(text)), length)


def read_corpus(path: Path, finders: Iterable[Finder]) -> None:
    """Show every document of a kept corpus file to every finder, in one pass."""
    chosen = list(finders)
    for document in read_documents(path):
        for finder in chosen:
            finder.read(document)


def _runs(read: Ngram, length: int) -> Iterator[Ngram]:
    for start in range(len(read) - length + 1):
        yield read[start : start + length]


def _joined(found: set[Ngram]) -> list[str]:
    return sorted(" ".join(ngram) for ngram in found)
