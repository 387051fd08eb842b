"""Telling English prose from code, tables, other languages and leftovers."""

import re
from collections.abc import Iterable, Iterator

_SPACE = re.compile(r"\s+")
_ENTITY = re.compile(r"&(\w+);")
_WORD = re.compile(r"[A-Za-z']+")
_STOPWORDS = frozenset(
    "a an and are as at be by can for from has have if in is it its not of on or that the "
    "this to was when which will with you your one other who".split()
)
_MIN_WORDS = 6
_MIN_LETTERS = 0.75
_MIN_STOPWORDS = 0.12


def normalise(text: str) -> str:
    """Join the lines of a paragraph and use plain quotes, dashes and spaces."""
    plain = text.translate(str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u00a0", "''\"\"-- "))
    return _SPACE.sub(" ", _ENTITY.sub(r"\1", plain)).strip()


def is_english_prose(paragraph: str) -> bool:
    """Keep sentences; drop code, tables, other languages and near-empty paragraphs."""
    words = _WORD.findall(paragraph.lower())
    if len(words) < _MIN_WORDS or not paragraph.isascii():
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    stopwords = sum(word in _STOPWORDS for word in words)
    return letters / len(paragraph) >= _MIN_LETTERS and stopwords / len(words) >= _MIN_STOPWORDS


def prose_documents(pages: Iterable[Iterable[str]]) -> Iterator[str]:
    """Turn pages into documents of prose paragraphs, each paragraph kept once."""
    seen: set[str] = set()
    for page in pages:
        kept = []
        for paragraph in map(normalise, page):
            if paragraph.lower() not in seen and is_english_prose(paragraph):
                seen.add(paragraph.lower())
                kept.append(paragraph)
        if kept:
            yield "\n".join(kept)
