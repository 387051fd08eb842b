"""What a Dirichlet partition draws over: the class, a column, or a cluster of questions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fedbench.hashing import sha256_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fedbench.tasks.spec import TopicSpec

    Matrix = npt.NDArray[np.float64]

ROUNDS = 10

#: (spec, the named column of every row, the label of every row) -> topic of every row
Topic = Callable[["TopicSpec", Sequence[str], Sequence[str]], list[str]]


def by_label(spec: TopicSpec, values: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The class."""
    return list(labels)


def by_column(spec: TopicSpec, values: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A column that names a subject."""
    return [value or "none" for value in values]


def by_words(spec: TopicSpec, values: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Clusters of texts that share rare words; never of answers.

    The same clusters on every machine and for every order of the rows: k-means on binary bags
    of words, in whole numbers (exact in double precision), from starts chosen by hash.
    """
    texts = sorted(set(values), key=sha256_text)
    clusters = min(spec.clusters, len(texts))
    assigned = _cluster(_bags(texts), clusters)
    names = {text: f"cluster-{number:02d}" for text, number in zip(texts, assigned, strict=True)}
    return [names[value] for value in values]


TOPICS: Mapping[str, Topic] = {"label": by_label, "column": by_column, "words": by_words}


def _bags(texts: Sequence[str]) -> Matrix:
    import numpy as np

    words = [set(re.findall(r"[a-z]{4,}", text.lower())) for text in texts]
    frequency = Counter(word for bag in words for word in bag)
    kept = sorted(w for w, n in frequency.items() if 3 <= n <= max(3, len(texts) // 10))
    column = {word: index for index, word in enumerate(kept)}
    bags = np.zeros((len(texts), len(kept)))
    for row, bag in enumerate(words):
        bags[row, [column[word] for word in bag if word in column]] = 1
    return bags


def _cluster(bags: Matrix, clusters: int) -> list[int]:
    import numpy as np

    centres = bags[:clusters]
    assigned = np.zeros(len(bags), dtype=np.int64)
    for _ in range(ROUNDS):
        norms = np.sqrt((centres**2).sum(axis=1, keepdims=True))
        whole = np.floor(4096 * centres / np.maximum(norms, 1))  # whole numbers: exact products
        assigned = np.argmax(bags @ whole.T, axis=1)
        members = np.eye(clusters)[assigned]
        centres = members.T @ bags
    return [int(number) for number in assigned]
