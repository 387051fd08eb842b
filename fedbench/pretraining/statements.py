"""Short business statements, composed from a grammar and words of WordNet.

They teach what a word-level lexicon cannot: a falling cost is good, a falling profit is bad,
and a figure without a comparison says neither.  All of them are invented.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fedbench.pretraining.wordnet import Synset

_GOOD = (
    "profit|net income|revenue|sales|turnover|earnings|operating margin|market share|cash flow|"
    "order intake|output|demand|exports|share price|dividend|production|operating result|"
    "customer base|equity|return on capital"
).split("|")
_BAD = (
    "loss|costs|debt|expenses|bad loans|delays|liabilities|complaints|net loss|interest charges|"
    "operating loss|waste|overheads|tax burden"
).split("|")
_UP = "rose|grew|increased|climbed|jumped|went up|surged|advanced|doubled|widened".split("|")
_DOWN = "fell|dropped|decreased|declined|slipped|shrank|sank|went down|halved|narrowed".split("|")
_RISE = "rise|grow|increase|climb|go up".split("|")
_FALL = "fall|drop|decrease|decline|go down".split("|")
_MAKERS = "maker|producer|supplier|retailer|importer|group|company|firm|manufacturer".split("|")
_MONEY = "million euros|million dollars|million pounds|million kronor|billion yen".split("|")
_WHEN = (
    "in the first quarter|in the second quarter|in the third quarter|last year|this year|"
    "in the first half|over nine months|in March|in October|in 2003|in 2008|year on year"
).split("|")
_GOOD_NEWS = (
    "won an order for {thing}|raised its forecast|opened a new {thing} plant|hired {n} people|"
    "signed a supply deal worth {a} {money}|will double its {thing} capacity|"
    "got approval for its {thing} business|beat expectations {when}|returned to profit {when}|"
    "renewed its agreement with {other}|launched a new {thing}|gained customers in {place}|"
    "strengthened its position in {place}"
).split("|")
_BAD_NEWS = (
    "will close its {thing} plant|will dismiss {n} people|cut its forecast|was fined {a} {money}|"
    "missed expectations {when}|lost a contract with {other}|recalled its {thing}|"
    "filed for bankruptcy|warned of weak demand {when}|stopped production of {thing}|"
    "slid into the red {when}|temporarily laid off {n} workers|cancelled an order for {thing}"
).split("|")
_NO_NEWS = (
    "makes {thing} and {thing2}|is based in {place}|employs {n} people in {place}|"
    "sells {thing} to customers in {place}|was founded in {year}|will report its {measure} soon|"
    "named a new head of its {thing} unit|has a {thing} unit and a {thing2} unit|"
    "had {measure} of {a} {money} {when}|owns {share} percent of {other}|"
    "did not name the price of the {thing} deal|will deliver the {thing} to {other} {when}|"
    "holds its annual meeting in {place}|uses {thing} made by {other}"
).split("|")
_CHANGES = (
    "{Who}'s {measure} {moved} by {share} percent {when}.",
    "{Measure} of {who} {moved} to {new} {money} from {old} {money} {when}.",
    "{When}, {who}'s {measure} {moved} from {old} to {new} {money}.",
    "{Measure} {moved} {share} percent to {new} {money}, {who} said.",
    "{Who} posted {measure} of {new} {money}, {against} {old} {money} a year earlier.",
    "{Measure} came to {new} {money} {when}, {against} {old} {money}.",
    "{Who} expects its {measure} to {move} {when}.",
    "Analysts think that {measure} at {who} will {move}.",
)


@dataclass(frozen=True)
class Vocabulary:
    """Nouns that fill the grammar: things that are made and names of places and people."""

    things: Sequence[str]
    names: Sequence[str]


def statement_vocabulary(synsets: dict[str, Synset]) -> Vocabulary:
    """Take short common nouns as products and capitalised single words as names."""
    things, names = set(), set()
    for synset in synsets.values():
        word = synset.words[0]
        if word.isalpha() and 2 < len(word) < 12:
            if synset.topic in ("artifact", "food", "substance") and word.islower():
                things.add(word)
            if synset.topic in ("location", "person", "object") and word.istitle():
                names.add(word)
    return Vocabulary(sorted(things), sorted(names))


def statement(label: str, vocabulary: Vocabulary, rng: random.Random) -> str:
    """Compose one statement whose news is positive, neutral or negative."""
    words = _fillers(vocabulary, rng)
    if label == "neutral" or rng.random() < 0.35:
        events = {"neutral": _NO_NEWS, "positive": _GOOD_NEWS, "negative": _BAD_NEWS}[label]
        return _capitalised(f"{words['who']} {rng.choice(events)}.".format(**words))
    words |= _movement(label == "positive", rng)
    return rng.choice(_CHANGES).format(**words)


def _movement(is_good: bool, rng: random.Random) -> dict[str, str]:
    rising = rng.random() < 0.6 if is_good else rng.random() < 0.3
    measure = rng.choice(_GOOD if rising == is_good else _BAD)
    high = rng.uniform(1, 500)
    low = high * rng.uniform(0.3, 0.97)
    old, new = (low, high) if rising else (high, low)
    return {
        "measure": measure,
        "Measure": _capitalised(measure),
        "moved": rng.choice(_UP if rising else _DOWN),
        "move": rng.choice(_RISE if rising else _FALL),
        "against": rng.choice(("up from" if rising else "down from", "compared with", "against")),
        "old": f"{old:.1f}",
        "new": f"{new:.1f}",
    }


def _fillers(vocabulary: Vocabulary, rng: random.Random) -> dict[str, str]:
    who, when = _company(vocabulary, rng), rng.choice(_WHEN)
    return {
        "who": who,
        "Who": _capitalised(who),
        "other": _company(vocabulary, rng),
        "when": when,
        "When": _capitalised(when),
        "thing": rng.choice(vocabulary.things),
        "thing2": rng.choice(vocabulary.things),
        "place": rng.choice(vocabulary.names),
        "measure": rng.choice(_GOOD + _BAD),
        "money": rng.choice(_MONEY),
        "share": f"{rng.uniform(1, 60):.{rng.choice((0, 1))}f}",
        "a": f"{rng.uniform(1, 90):.{rng.choice((0, 1))}f}",
        "n": str(rng.randint(10, 3000)),
        "year": str(rng.randint(1870, 2009)),
    }


def _company(vocabulary: Vocabulary, rng: random.Random) -> str:
    if rng.random() < 0.4:
        return rng.choice(vocabulary.names)
    if rng.random() < 0.3:
        return f"the {rng.choice(_MAKERS)}"
    return (
        f"the {rng.choice(vocabulary.things)} {rng.choice(_MAKERS)} {rng.choice(vocabulary.names)}"
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
