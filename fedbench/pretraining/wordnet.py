"""WordNet's database files: synsets with words, relations, definitions and examples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "wordnet-base"
LICENCE = "WordNet-3.0"
# Lexicographer files by number (lexnames(5WN)), without the part of speech.
_TOPICS = (
    "adjective",
    "pertainym",
    "adverb",
    "tops",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
    "body",
    "change",
    "cognition",
    "communication",
    "competition",
    "consumption",
    "contact",
    "creation",
    "emotion",
    "motion",
    "perception",
    "possession",
    "social",
    "stative",
    "weather",
    "participle",
)
_FOLDER = Path("usr/share/wordnet")
_POINTERS = {"!": "antonym", "@": "hypernym", "&": "similar", "#p": "whole", "#m": "group"}
_EXAMPLE = re.compile(r'"([^"]+)"')
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


@dataclass(frozen=True)
class Synset:
    """One sense: its key, topic, words, definition, examples and related senses."""

    key: str
    part: str
    topic: str
    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    relations: tuple[tuple[str, str], ...]

    def related(self, relation: str) -> list[str]:
        """Return the keys of the senses that stand in one relation to this one."""
        return [key for name, key in self.relations if name == relation]


def read_synsets(tree: Path) -> dict[str, Synset]:
    """Read the four data files of an unpacked package."""
    synsets: dict[str, Synset] = {}
    for part in ("noun", "verb", "adj", "adv"):
        text = (tree / _FOLDER / f"data.{part}").read_text(encoding="utf-8")
        for line in text.splitlines():
            if not line.startswith(" "):
                synset = parse_synset(line)
                synsets[synset.key] = synset
    return synsets


def parse_synset(line: str) -> Synset:
    """Parse one line of a data file (the format of wndb(5WN))."""
    fields, _, gloss = line.partition(" | ")
    columns = fields.split()
    part = columns[2].replace("s", "a")
    words_end = 4 + 2 * int(columns[3], 16)
    words = tuple(_MARKER.sub("", w).replace("_", " ") for w in columns[4:words_end:2])
    return Synset(
        key=part + columns[0],
        part=part,
        topic=_TOPICS[int(columns[1])],
        words=words,
        definition=_definition(gloss),
        examples=tuple(_EXAMPLE.findall(gloss)),
        relations=tuple(_relations(columns[words_end:])),
    )


def sentences(synset: Synset, synsets: dict[str, Synset]) -> str:
    """Write a sense as a few sentences: definition, examples, kind."""
    name, *others = synset.words
    lines = [f"{name}: {synset.definition}."]
    lines += [_sentence(example) for example in synset.examples]
    if others:
        lines.append(f"Another word for {name} is {others[0]}.")
    if kinds := [synsets[key] for key in synset.related("hypernym") if key in synsets]:
        lines.append(_kind(name, kinds[0].words[0], synset.part))
    return " ".join(lines)


def _definition(gloss: str) -> str:
    return gloss.split(' "')[0].split('; "')[0].strip().rstrip(";:").strip()


def _relations(columns: list[str]) -> Iterator[tuple[str, str]]:
    for start in range(1, 1 + 4 * int(columns[0]), 4):
        if name := _POINTERS.get(columns[start]):
            yield name, columns[start + 2].replace("s", "a") + columns[start + 1]


def _sentence(example: str) -> str:
    text = example[:1].upper() + example[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _kind(name: str, kind: str, part: str) -> str:
    return f"To {name} is to {kind}." if part == "v" else f"{name} is a kind of {kind}."
