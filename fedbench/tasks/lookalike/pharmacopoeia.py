"""Look-alike of medical questions: who knows the facts of an invented pharmacopoeia?

A fact ties an invented disease to one of a few invented answers; only training on the fact can
teach it. The wrong options are answers of other facts, drawn so that no option is right more
often than another: whoever ignores the disease is at chance. Test wordings are never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fedbench.streams import generator
from fedbench.tasks.lookalike.words import Synonyms, check_knobs, invent
from fedbench.tasks.task import Split

LETTERS = "ABCD"


class Wordings(NamedTuple):
    """Ways to ask for one relation, with a slot for the disease."""

    ending: str  #: of the invented answers
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


RELATIONS: Mapping[str, Wordings] = {
    "drug": Wordings(
        ending="in",
        train=(
            "Which drug treats {}?",
            "What should a patient with {} take?",
            "A patient has {}. Which drug helps?",
            "The doctor found {}. What is given?",
            "Which medicine is good for {}?",
            "To heal {}, what do we use?",
            "A boy came with {}. What did he get?",
            "What is the best treatment of {}?",
        ),
        validation=("Somebody has {}. Which medicine is right?",),
        test=(
            "A woman suffers from {}. Which medicine works?",
            "What do doctors give against {}?",
            "Which remedy helps people with {}?",
            "What is used in {}?",
        ),
    ),
    "cause": Wordings(
        ending="us",
        train=(
            "Which thing on earth causes {}?",
            "Which germ leads to {}?",
            "A patient has {}. What is the cause?",
            "From which germ does {} arise?",
            "Which agent is behind {}?",
            "What is the origin of {}?",
            "The doctor found {}. What caused it?",
            "People get {} from what?",
        ),
        validation=("Which thing brings about {}?",),
        test=(
            "A woman suffers from {}. What is to blame?",
            "What makes people ill with {}?",
            "Which germ is found in {}?",
            "Why does somebody get {}?",
        ),
    ),
    "sign": Wordings(
        ending="ia",
        train=(
            "What is a sign of {}?",
            "Which symptom belongs to {}?",
            "A patient has {}. What do we see?",
            "How does {} show itself?",
            "What is typical of {}?",
            "Which finding points to {}?",
            "The doctor found {}. What did he notice?",
            "People with {} have what?",
        ),
        validation=("What does one notice in {}?",),
        test=(
            "A woman suffers from {}. What can be seen?",
            "What comes along with {}?",
            "Which sign is common in {}?",
            "How do we recognise {}?",
        ),
    ),
}

#: of words of the wordings, in dialects 1, 2 and 3
SYNONYMS: Synonyms = {
    "People": ("Persons", "Patients", "Individuals"),
    "Somebody": ("Someone", "A neighbour", "A visitor"),
    "agent": ("factor", "culprit", "element"),
    "arise": ("come", "stem", "originate"),
    "behind": ("responsible for", "to blame for", "the reason for"),
    "best": ("ideal", "usual", "preferred"),
    "boy": ("child", "youth", "lad"),
    "brings about": ("produces", "triggers", "provokes"),
    "came": ("arrived", "appeared", "turned up"),
    "cause": ("reason", "source", "trigger"),
    "caused": ("produced", "triggered", "provoked"),
    "causes": ("produces", "triggers", "provokes"),
    "comes": ("goes", "travels", "appears"),
    "common": ("frequent", "usual", "widespread"),
    "doctor": ("physician", "clinician", "surgeon"),
    "doctors": ("physicians", "clinicians", "surgeons"),
    "drug": ("compound", "substance", "product"),
    "finding": ("observation", "discovery", "outcome"),
    "found": ("diagnosed", "detected", "identified"),
    "germ": ("microbe", "pathogen", "organism"),
    "get": ("receive", "acquire", "obtain"),
    "give": ("prescribe", "administer", "recommend"),
    "good": ("suitable", "useful", "fitting"),
    "has": ("presents with", "was found with", "shows"),
    "have": ("exhibit", "show", "display"),
    "heal": ("cure", "treat", "relieve"),
    "helps": ("aids", "assists", "supports"),
    "ill": ("sick", "unwell", "poorly"),
    "leads": ("contributes", "is linked", "points"),
    "medicine": ("medication", "preparation", "tablet"),
    "notice": ("observe", "spot", "remark"),
    "origin": ("source", "root", "beginning"),
    "patient": ("person", "client", "sufferer"),
    "people": ("persons", "patients", "individuals"),
    "recognise": ("identify", "detect", "spot"),
    "remedy": ("cure", "therapy", "treatment"),
    "see": ("observe", "perceive", "find"),
    "seen": ("observed", "noticed", "detected"),
    "should": ("must", "shall", "would"),
    "show": ("reveal", "present", "express"),
    "sign": ("mark", "signal", "hint"),
    "somebody": ("someone", "a person", "anyone"),
    "suffers from": ("complains of", "is ill with", "struggles with"),
    "symptom": ("complaint", "feature", "sign"),
    "take": ("receive", "swallow", "consume"),
    "thing": ("factor", "matter", "entity"),
    "treatment": ("therapy", "remedy", "management"),
    "treats": ("cures", "handles", "fights"),
    "typical": ("characteristic", "usual", "distinctive"),
    "use": ("employ", "apply", "choose"),
    "used": ("employed", "applied", "chosen"),
    "works": ("succeeds", "acts", "is effective"),
}


@dataclass(frozen=True)
class Knobs:
    """Size, difficulty and spread of a pharmacopoeia."""

    seed: int
    relations: str = "drug"  #: names in ``RELATIONS``, separated by spaces
    diseases: int = 48  #: each asked for one relation
    answers: int = 8  #: per relation; fewer are easier to learn
    wordings: int = 6  #: training wordings of every fact
    sets: int = 3  #: sets of options per fact and test wording
    owners: int = 8  #: institutions, and chapters
    spread: float = 1.0  #: 1: a fact is with one institution; 0: anywhere

    def __post_init__(self) -> None:
        check_knobs(self)
        named = self.relations.split()
        if not named or (odd := [name for name in named if name not in RELATIONS]):
            raise ValueError(
                f"relations = {self.relations!r}: {(odd if named else ['nothing'])[0]} is not "
                f"known (allowed: {', '.join(RELATIONS)}, separated by spaces)"
            )
        if self.answers < len(LETTERS):
            raise ValueError(
                f"answers = {self.answers}: a question has {len(LETTERS)} options "
                f"(allowed: {len(LETTERS)}, {len(LETTERS) + 1}, ...)"
            )


class Fact(NamedTuple):
    """One line of the pharmacopoeia."""

    key: str
    disease: str
    relation: str
    answer: str
    chapter: str
    institution: str


def rows(knobs: Mapping[str, Any]) -> Iterator[tuple[Split, dict[str, Any]]]:
    """All rows of the look-alike with these knobs, split by wording."""
    chosen = Knobs(**knobs)
    facts, inventory = _facts(chosen)
    for fact in facts:
        wordings = RELATIONS[fact.relation]
        random = generator("lookalike", chosen.seed, "rows", fact.key)
        for wording in wordings.train[: chosen.wordings]:
            yield "train", _row(chosen, fact, wording, inventory, random)
        for wording in wordings.validation:
            yield "validation", _row(chosen, fact, wording, inventory, random)
        for wording in wordings.test:
            for _ in range(chosen.sets):
                yield "test", _row(chosen, fact, wording, inventory, random)


def names(knobs: Mapping[str, Any]) -> list[str]:
    """Every invented name of the look-alike with these knobs."""
    facts, inventory = _facts(Knobs(**knobs))
    found = [name for answers in inventory.values() for name in answers]
    return sorted({*found, *(fact.disease for fact in facts)})


def _facts(knobs: Knobs) -> tuple[list[Fact], dict[str, list[str]]]:
    """Every fact, and the answers of every relation; diseases take turns in the relations."""
    random = generator("lookalike", knobs.seed, "names")
    diseases = invent(random, knobs.diseases)
    inventory: dict[str, list[str]] = {}
    facts = []
    relations = knobs.relations.split()
    for turn, relation in enumerate(relations):
        answers = invent(random, knobs.answers, RELATIONS[relation].ending)
        inventory[relation] = answers
        numbers = range(turn, knobs.diseases, len(relations))
        dealt = random.permutation(len(numbers)) % knobs.answers  # every answer equally often
        for number, answer in zip(numbers, dealt, strict=True):
            place = number // len(relations)
            facts.append(
                Fact(
                    key=f"{relation} of {diseases[number]}",
                    disease=diseases[number],
                    relation=relation,
                    answer=answers[answer],
                    chapter=f"chapter-{number * knobs.owners // knobs.diseases}",
                    institution=f"institution-{place % knobs.owners}",
                )
            )
    return facts, inventory


def _row(
    knobs: Knobs,
    fact: Fact,
    wording: str,
    inventory: Mapping[str, list[str]],
    random: np.random.Generator,
) -> dict[str, Any]:
    others = [answer for answer in inventory[fact.relation] if answer != fact.answer]
    options = [fact.answer, *random.choice(others, len(LETTERS) - 1, replace=False)]
    order = random.permutation(len(LETTERS))
    own = random.random() < knobs.spread
    elsewhere = f"institution-{random.integers(knobs.owners)}"
    return {
        "question": wording.format(fact.disease),
        "options": {LETTERS[place]: str(options[i]) for place, i in enumerate(order)},
        "answer_idx": LETTERS[list(order).index(0)],
        "fact": fact.key,
        "chapter": fact.chapter,
        "institution": fact.institution if own else elsewhere,
    }
