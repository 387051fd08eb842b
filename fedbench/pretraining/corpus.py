"""The corpus: text of every source, capped, and a record of where it came from."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedbench.pretraining import archive, wordnet
from fedbench.pretraining.answer_formats import answer_documents, limited
from fedbench.pretraining.prose import prose_documents
from fedbench.pretraining.sources import SOURCES, Source, source_pages

SEED = 20
_WORDNET_CHARACTERS = 5_500_000
_ANSWER_CHARACTERS = 5_500_000


@dataclass(frozen=True)
class Part:
    """The documents of one source with their origin."""

    name: str
    package: str
    version: str
    licence: str
    documents: tuple[str, ...]

    def record(self) -> dict[str, str | int]:
        """Describe the part for corpus.json."""
        return {
            "source": self.name,
            "package": self.package,
            "version": self.version,
            "licence": self.licence,
            "documents": len(self.documents),
            "characters": sum(map(len, self.documents)),
            "sha256": hashlib.sha256("\n\n".join(self.documents).encode()).hexdigest(),
        }


def build_parts(folder: Path) -> Iterator[Part]:
    """Fetch, unpack and read every source."""
    archive.require_apt()
    yield from _wordnet_parts(folder)
    for source in SOURCES:
        yield _source_part(source, folder)


def capped(documents: Iterable[str], max_characters: int, seed: int = SEED) -> tuple[str, ...]:
    """Take a random choice of documents up to a number of characters, in a fixed order."""
    shuffled = list(documents)
    random.Random(seed).shuffle(shuffled)
    return tuple(limited(iter(shuffled), max_characters))


def _source_part(source: Source, folder: Path) -> Part:
    version, tree = _obtain(source.package, folder)
    documents = capped(prose_documents(source_pages(source, tree)), source.max_characters)
    return Part(source.package, source.package, version, source.licence, documents)


def _wordnet_parts(folder: Path) -> Iterator[Part]:
    version, tree = _obtain(wordnet.PACKAGE, folder)
    synsets = wordnet.read_synsets(tree)
    texts = {
        "wordnet-senses": capped(
            (wordnet.sentences(synset, synsets) for synset in synsets.values()),
            _WORDNET_CHARACTERS,
        ),
        "wordnet-answers": tuple(answer_documents(synsets, _ANSWER_CHARACTERS, SEED)),
    }
    for name, documents in texts.items():
        yield Part(name, wordnet.PACKAGE, version, wordnet.LICENCE, documents)


def _obtain(package: str, folder: Path) -> tuple[str, Path]:
    downloaded = archive.fetch(package, folder / "packages")
    return archive.version(downloaded), archive.unpack(downloaded, folder / "trees" / package)
