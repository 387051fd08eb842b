"""Look-alike of financial sentiment: who knows the idioms of invented newsrooms?

The mood of a sentence hangs on one invented cue word, and every newsroom has its own cues; only
training on a cue can teach its mood. Companies are shared by all moods and tell nothing. Test
frames are never trained on. With ``paired`` above 0 some sentences speak of two companies, each
with its own cue, and the question names the company that is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fedbench.streams import generator
from fedbench.tasks.lookalike.words import Synonyms, check_knobs, invent
from fedbench.tasks.task import Split

MOODS = ("negative", "neutral", "positive")

FRAMES: Mapping[Split, tuple[str, ...]] = {
    "train": (
        "{} {} over the whole summer .",
        "Sales of {} {} in March .",
        "Shares of {} {} today .",
        "Analysts say that {} {} again .",
        "The profit of {} {} .",
        "On Monday {} {} .",
        "The report says {} {} in Europe .",
        "{} {} , the board said .",
    ),
    "validation": ("We hear that {} {} last week .",),
    "test": (
        "In the third quarter {} {} .",
        "The news : {} {} yesterday .",
        "Orders of {} {} this month .",
        "{} {} after the results .",
    ),
}
JOINTS: Mapping[Split, str] = {
    "train": "{} , and {}",
    "validation": "{} ; {}",
    "test": "{} while {}",
}
#: of words of the frames, in dialects 1, 2 and 3
SYNONYMS: Synonyms = {
    "Analysts": ("Experts", "Observers", "Commentators"),
    "In": ("During", "Within", "Throughout"),
    "On": ("This", "Last", "Early"),
    "Orders": ("Requests", "Bookings", "Contracts"),
    "Shares": ("Stocks", "Securities", "Equities"),
    "after": ("following", "upon", "since"),
    "again": ("once more", "anew", "afresh"),
    "board": ("management", "directorate", "leadership"),
    "hear": ("learn", "understand", "gather"),
    "in": ("within", "across", "around"),
    "last week": ("the past week", "the previous week", "the preceding week"),
    "news": ("headline", "update", "bulletin"),
    "of": ("at", "from", "for"),
    "over": ("during", "through", "across"),
    "profit": ("income", "turnover", "revenue"),
    "quarter": ("trimester", "quarter-year", "reporting period"),
    "report": ("statement", "document", "survey"),
    "results": ("figures", "accounts", "earnings"),
    "said": ("stated", "announced", "declared"),
    "say": ("claim", "state", "believe"),
    "says": ("claims", "states", "mentions"),
    "this month": ("these four weeks", "these thirty days", "this calendar month"),
    "today": ("now", "this morning", "at present"),
    "whole": ("entire", "full", "complete"),
    "yesterday": ("the day before", "a day ago", "one day earlier"),
}


@dataclass(frozen=True)
class Knobs:
    """Size, difficulty and spread of a newswire."""

    seed: int
    cues: int = 48  #: a multiple of three moods times the owners
    companies: int = 24
    frames: int = 6  #: training frames of every cue
    repeats: int = 1  #: sentences per cue and training frame, about different companies
    copies: int = 3  #: sentences per cue and test frame
    paired: float = 0.0  #: share of sentences with two companies
    owners: int = 8  #: newsrooms, and house styles
    spread: float = 1.0  #: 1: a cue is with one newsroom; 0: anywhere

    def __post_init__(self) -> None:
        check_knobs(self)


class Cue(NamedTuple):
    """An invented word and its mood."""

    word: str
    mood: str
    style: str
    newsroom: str


def rows(knobs: Mapping[str, Any]) -> Iterator[tuple[Split, dict[str, Any]]]:
    """All rows of the look-alike with these knobs, split by frame."""
    chosen = Knobs(**knobs)
    cues, companies = _cues(chosen)
    for cue in cues:
        random = generator("lookalike", chosen.seed, "rows", cue.word)
        near = [other for other in cues if other.newsroom == cue.newsroom and other != cue]
        for split, frame in _frames(chosen):
            for row in _about(chosen, cue, near, companies, frame, split, random):
                yield split, row


def names(knobs: Mapping[str, Any]) -> list[str]:
    """Every invented name of the look-alike with these knobs."""
    cues, companies = _cues(Knobs(**knobs))
    return sorted({*companies, *(cue.word for cue in cues)})


def _frames(knobs: Knobs) -> Iterator[tuple[Split, str]]:
    """The frames in which every cue appears, as often as the knobs say."""
    for frame in FRAMES["train"][: knobs.frames] * knobs.repeats:
        yield "train", frame
    for frame in FRAMES["validation"]:
        yield "validation", frame
    for frame in FRAMES["test"] * knobs.copies:
        yield "test", frame


def _cues(knobs: Knobs) -> tuple[list[Cue], list[str]]:
    random = generator("lookalike", knobs.seed, "names")
    words = invent(random, knobs.cues, "ed")
    companies = [name.capitalize() for name in invent(random, knobs.companies)]
    return [
        Cue(
            word,
            MOODS[number % 3],
            f"style-{number * knobs.owners // knobs.cues}",
            f"newsroom-{number // 3 % knobs.owners}",
        )
        for number, word in enumerate(words)
    ], companies


def _about(
    knobs: Knobs,
    cue: Cue,
    near: Sequence[Cue],
    companies: Sequence[str],
    frame: str,
    split: Split,
    random: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """One row, or two for a sentence about two companies."""
    first, second = random.choice(companies, 2, replace=False)
    newsroom = cue.newsroom
    if random.random() >= knobs.spread:
        newsroom = f"newsroom-{random.integers(knobs.owners)}"
    sentence, told = frame.format(first, cue.word), [(first, cue)]
    if random.random() < knobs.paired:
        other = near[int(random.integers(len(near)))]
        sentence = JOINTS[split].format(sentence.removesuffix(" ."), f"{second} {other.word} .")
        told.append((second, other))
    for company, spoken in told:
        yield {
            "sentence": sentence,
            "target": str(company),
            "label": spoken.mood,
            "cue": spoken.word,
            "style": cue.style,
            "newsroom": newsroom,
        }
