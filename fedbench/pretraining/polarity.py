"""A small polarity lexicon over WordNet: seed words, spread along its relations."""

from collections.abc import Iterable, Iterator

from fedbench.pretraining.wordnet import Synset

LABELS = ("negative", "neutral", "positive")
_NEUTRAL_TOPICS = frozenset(
    "artifact location object plant animal time food substance group quantity stative".split()
)
_POSITIVE = frozenset(
    "increase rise grow improve gain win succeed recover expand strengthen profit benefit boost "
    "exceed advance enhance prosper heal save earn good favorable profitable strong successful "
    "beneficial happy pleasant healthy better safe valuable efficient excellent positive rich "
    "gain growth improvement success profit increase benefit victory recovery advantage health "
    "progress achievement joy".split()
)
_NEGATIVE = frozenset(
    "decrease fall decline worsen lose fail shrink weaken harm damage collapse deteriorate drop "
    "destroy suffer hurt reduce sink bad unfavorable unprofitable weak unsuccessful harmful "
    "unhappy unpleasant sick worse dangerous worthless inefficient poor negative sad "
    "loss decline failure deficit decrease damage defeat crisis disadvantage disease "
    "deterioration debt misfortune sorrow".split()
)


def sense_polarities(synsets: dict[str, Synset]) -> dict[str, str]:
    """Label senses as positive or negative; a sense reached from both sides gets no label."""
    positive = _spread(_seeds(synsets, _POSITIVE), synsets)
    negative = _spread(_seeds(synsets, _NEGATIVE), synsets)
    labels = dict.fromkeys(positive - negative, "positive")
    return labels | dict.fromkeys(negative - positive, "negative")


def toned_sentences(synsets: dict[str, Synset]) -> dict[str, list[str]]:
    """Group example sentences (or definitions) by the polarity of their sense."""
    polarities = sense_polarities(synsets)
    grouped: dict[str, list[str]] = {label: [] for label in LABELS}
    for key, synset in synsets.items():
        fallback = "neutral" if synset.topic in _NEUTRAL_TOPICS else None
        if label := polarities.get(key, fallback):
            grouped[label] += synset.examples or (f"{synset.words[0]}: {synset.definition}",)
    return grouped


def _seeds(synsets: dict[str, Synset], words: frozenset[str]) -> set[str]:
    return {key for key, synset in synsets.items() if synset.words[0] in words}


def _spread(seeds: set[str], synsets: dict[str, Synset]) -> set[str]:
    """Follow 'similar to' from adjectives and 'kind of' to the seeds, one step each."""
    return seeds | set(_one_step(seeds, synsets.values()))


def _one_step(seeds: set[str], synsets: Iterable[Synset]) -> Iterator[str]:
    for synset in synsets:
        if seeds.intersection(synset.related("hypernym") + synset.related("similar")):
            yield synset.key
