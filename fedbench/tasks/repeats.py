"""Near-repeats: texts of training that say almost the same as a test item.

Two texts are compared by the Jaccard similarity of their pairs of neighbouring words. A pair of
texts that reaches the threshold shares one of its rarest word pairs, so only such candidates are
compared: the result is that of comparing all (Bayardo, Ma, Srikant, *Scaling up all pairs
similarity search*, WWW 2007).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

THRESHOLD = 0.8

#: a picture, such as an emoji, is a word of its own
_WORD = re.compile(r"\w+|[\u2600-\u27bf\U0001f000-\U0001faff]")
Shingles = frozenset[str]


def shingles(text: str) -> Shingles:
    """Pairs of neighbouring words, without case and punctuation; a single word stands alone."""
    words = _WORD.findall(text.casefold())
    return frozenset(" ".join(words[i : i + 2]) for i in range(max(1, len(words) - 1)))


def similarity(left: Shingles, right: Shingles) -> float:
    """Jaccard similarity: shared over all, between 0 and 1."""
    return len(left & right) / len(left | right)


def near_repeats(
    texts: Sequence[str], of: Sequence[str], threshold: float = THRESHOLD
) -> dict[int, int]:
    """For every text that nearly repeats one of ``of``: its index, and that of the nearest."""
    mine, theirs = [shingles(text) for text in texts], [shingles(text) for text in of]
    counts = Counter(shingle for each in (*mine, *theirs) for shingle in each)
    index: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(theirs):
        for shingle in _rarest(each, counts, threshold):
            index[shingle].append(place)
    found = {}
    for place, each in enumerate(mine):
        candidates = sorted({o for s in _rarest(each, counts, threshold) for o in index.get(s, ())})
        scored = [(similarity(each, theirs[other]), -other) for other in candidates]
        if scored and max(scored)[0] >= threshold:
            found[place] = -max(scored)[1]
    return found


def near_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Every pair of texts that nearly repeat each other, the smaller index first."""
    sets = [shingles(text) for text in texts]
    counts = Counter(shingle for each in sets for shingle in each)
    index: dict[str, list[int]] = defaultdict(list)
    found = []
    for place, each in enumerate(sets):
        rarest = list(_rarest(each, counts, threshold))
        earlier = sorted({other for shingle in rarest for other in index[shingle]})
        found += [(o, place) for o in earlier if similarity(each, sets[o]) >= threshold]
        for shingle in rarest:
            index[shingle].append(place)
    return found


def _rarest(each: Shingles, counts: Mapping[str, int], threshold: float) -> Iterator[str]:
    """So many of the rarest that whoever is similar enough must share one of them."""
    needed = len(each) - math.ceil(threshold * len(each) - 1e-9) + 1
    yield from sorted(each, key=lambda shingle: (counts[shingle], shingle))[:needed]
