"""Questions with answers, made from WordNet: they teach to read a prompt and to answer it."""

import random
from collections.abc import Callable, Iterator

from fedbench.pretraining.polarity import LABELS, toned_sentences
from fedbench.pretraining.statements import statement, statement_vocabulary
from fedbench.pretraining.wordnet import Synset

Maker = Callable[[dict[str, Synset], random.Random], Iterator[str]]

_CHOICES = 4
_LETTERS = "ABCD"
# Most news is neither good nor bad; the shares only have to leave no label rare.
_LABEL_WEIGHTS = (0.3, 0.4, 0.3)
_SHORT_TONE = "{text}\nSentiment: {label}"
_TONE_PROMPTS = (
    _SHORT_TONE,
    _SHORT_TONE,
    _SHORT_TONE,
    "Text: {text}\nSentiment: {label}",
    "Sentence: {text}\nOptions: negative, neutral, positive\nAnswer: {label}",
    "What is the sentiment of this text? Choose negative, neutral or positive.\n{text}\n"
    "Answer: {label}",
    "### Instruction:\nIs this news negative, neutral or positive?\n\n### Input:\n{text}\n\n"
    "### Response:\n{label}",
    "Question: Is this news positive, neutral or negative?\nNews: {text}\nAnswer: {label}",
    "{text}\nThe tone of this sentence is {label}.",
)
_TOPIC_PROMPTS = (
    "Text: {text}\nTopic: {label}",
    "Question: What is this text about?\nText: {text}\nAnswer: {label}",
)
_WORD_PROMPTS = (
    "Question: Which word means '{text}'?\n{options}Answer: {answer}",
    "Question: What is the name for this: {text}?\n{options}Answer: {answer}",
    "Definition: {text}\n{options}Answer: {answer}",
)
_PAIR_PROMPTS = {
    "antonym": "Question: What is the opposite of {word}?\n{options}Answer: {answer}",
    "hypernym": "Question: What kind of thing is {word}?\n{options}Answer: {answer}",
    "similar": "Question: Which word is similar to {word}?\n{options}Answer: {answer}",
}


def answer_documents(synsets: dict[str, Synset], max_characters: int, seed: int) -> Iterator[str]:
    """Yield questions with answers, every kind with its share of the characters."""
    makers: tuple[tuple[float, Maker], ...] = (
        (0.20, definition_choices),
        (0.13, related_words),
        (0.12, topics),
        (0.20, tones),
        (0.35, business_news),
    )
    for number, (share, make) in enumerate(makers):
        rng = random.Random(seed * len(makers) + number)
        yield from limited(make(synsets, rng), share * max_characters)


def limited(documents: Iterator[str], max_characters: float) -> Iterator[str]:
    """Stop after so many characters."""
    total = 0
    for document in documents:
        total += len(document)
        if total > max_characters:
            return
        yield document


def definition_choices(synsets: dict[str, Synset], rng: random.Random) -> Iterator[str]:
    """Ask for the word of a definition among words of the same topic."""
    by_topic = _by_topic(synsets)
    for synset in _shuffled(synsets, rng):
        wrong = [rng.choice(by_topic[synset.topic]).words[0] for _ in range(_CHOICES - 1)]
        options, answer = _options(synset.words[0], wrong, rng)
        yield rng.choice(_WORD_PROMPTS).format(
            text=synset.definition, options=options, answer=answer
        )


def related_words(synsets: dict[str, Synset], rng: random.Random) -> Iterator[str]:
    """Ask for a word's opposite, kind or neighbour."""
    senses = list(synsets.values())
    for synset in _shuffled(synsets, rng):
        found = [(name, synsets[key]) for name, key in synset.relations if name in _PAIR_PROMPTS]
        if found:
            relation, right = rng.choice(found)
            wrong = [rng.choice(senses).words[0] for _ in range(_CHOICES - 1)]
            options, answer = _options(right.words[0], wrong, rng)
            yield _PAIR_PROMPTS[relation].format(
                word=synset.words[0], options=options, answer=answer
            )


def topics(synsets: dict[str, Synset], rng: random.Random) -> Iterator[str]:
    """Name the lexicographer file of an example sentence or a definition."""
    for synset in _shuffled(synsets, rng):
        text = rng.choice(synset.examples or (synset.definition,))
        yield rng.choice(_TOPIC_PROMPTS).format(text=text, label=synset.topic)


def tones(synsets: dict[str, Synset], rng: random.Random) -> Iterator[str]:
    """Name the polarity of an example sentence by the polarity of its sense."""
    grouped = toned_sentences(synsets)
    while all(grouped.values()):
        label = _label(rng)
        yield _toned(grouped[label].pop(rng.randrange(len(grouped[label]))), label, rng)


def business_news(synsets: dict[str, Synset], rng: random.Random) -> Iterator[str]:
    """Name the polarity of an invented business statement, without end."""
    vocabulary = statement_vocabulary(synsets)
    while True:
        label = _label(rng)
        text = statement(label, vocabulary, rng)
        if rng.random() < 0.3:
            text += " " + statement(label, vocabulary, rng)
        yield _toned(text, label, rng)


def _toned(text: str, label: str, rng: random.Random) -> str:
    return rng.choice(_TONE_PROMPTS).format(text=text, label=label)


def _label(rng: random.Random) -> str:
    return rng.choices(LABELS, weights=_LABEL_WEIGHTS)[0]


def _options(right: str, wrong: list[str], rng: random.Random) -> tuple[str, str]:
    """Lay out the options: not at all, in a line or with letters; return the answer as well."""
    words = [right, *wrong]
    rng.shuffle(words)
    layout = rng.choice(("none", "line", "letters", "letters and words"))
    if layout == "none":
        return "", right
    if layout == "line":
        return f"Options: {', '.join(words)}\n", right
    lettered = [f"{letter}. {word}" for letter, word in zip(_LETTERS, words, strict=True)]
    answer = lettered[words.index(right)]
    return "\n".join([*lettered, ""]), answer[0] if layout == "letters" else answer


def _shuffled(synsets: dict[str, Synset], rng: random.Random) -> Iterator[Synset]:
    senses = list(synsets.values())
    rng.shuffle(senses)
    return iter(senses)


def _by_topic(synsets: dict[str, Synset]) -> dict[str, list[Synset]]:
    grouped: dict[str, list[Synset]] = {}
    for synset in synsets.values():
        grouped.setdefault(synset.topic, []).append(synset)
    return grouped
