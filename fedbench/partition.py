"""Who holds what: examples dealt to sites, whole groups together, every split alike."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.hashing import sha256_json
from fedbench.streams import generator
from fedbench.tasks.task import SPLITS, Example, Split

Holding = Mapping[Split, tuple[str, ...]]


@dataclass(frozen=True)
class Partition:
    """The ids of the examples that each site holds, per split."""

    label: str  #: for tables, such as ``dirichlet-0.3``
    sites: Mapping[str, Holding]
    too_small: tuple[str, ...]  #: sites under the minimum: reported, but not trained
    left_out: str | None = None  #: a site that takes no part, whatever its size; the label says so

    @cached_property
    def digest(self) -> str:
        """Hash of who holds what."""
        return sha256_json([self.label, _plain(self.sites), list(self.too_small)])

    @property
    def trained(self) -> tuple[str, ...]:
        """Sites that take part in training, in order."""
        idle = frozenset([*self.too_small, self.left_out])
        return tuple(site for site in self.sites if site not in idle)

    def to_json(self) -> dict[str, Any]:
        """A plain value, with its hash."""
        return {
            "label": self.label,
            "sites": _plain(self.sites),
            "too_small": list(self.too_small),
            "digest": self.digest,
        }


class _Cut(NamedTuple):
    """Numbers of the sites that have a share in a stratum, in order, and these shares."""

    sites: Sequence[int]
    shares: ArrayLike


Shares = Mapping[str, _Cut]  #: by stratum


class _Group(NamedTuple):
    """Examples that stay together; its least id stands for it."""

    key: str
    split: Split
    stratum: str
    ids: tuple[str, ...]


def make_partition(examples: Sequence[Example], config: PartitionConfig, seed: int) -> Partition:
    """Deal ``examples`` to sites, the same way for any order in which they come.

    Shares are drawn once per topic (or answer, or natural owner) and hold for training, validation
    and test alike, so a site is judged on what it knows. Of examples that stay together the one
    with the least id says which topic, answer or owner they are dealt by. A site left out holds
    what it would hold: the others have the same as with it, and its test items keep their holder.
    Where it is too small to train anyway, the federation without it is that of all sites, bit for
    bit.

    Raises:
        FedbenchError: a natural partition of examples that name no owner.
    """
    groups = _groups(examples, STRATA.get(config.kind, "topic"))
    shares = KINDS[config.kind](groups, config, seed)
    names = _site_names(config.sites)
    held: dict[str, dict[Split, list[str]]] = {name: {s: [] for s in SPLITS} for name in names}
    for (stratum, split), members in _by_stratum(groups).items():
        cut = shares[stratum]
        dealt = _deal(members, cut.shares, generator("deal", seed, stratum, split))
        for site, ids in zip(cut.sites, dealt, strict=True):
            held[names[site]][split].extend(ids)
    sites = {n: {s: tuple(sorted(ids)) for s, ids in by.items()} for n, by in held.items()}
    too_small = tuple(name for name in names if len(sites[name]["train"]) < config.minimum)
    left_out = None if config.without is None else names[config.without]
    return Partition(config.label, sites, too_small, left_out)


def pace(number: int, sites: int, slowest: float) -> float:
    """Local work of site ``number`` of so many that train, in units of the mean over these sites.

    Evenly spaced, from the first site to the last, which does ``slowest`` as much. The mean over
    sites is 1, so that an example is still processed as often in expectation if how many a site
    holds does not depend on its number (as it may in a natural partition, which deals to the least
    loaded). Over examples it would hold always, but a server would have to know all sizes before
    the first round.
    """
    behind = (1 - slowest) * number / max(1, sites - 1)
    return (1 - behind) / ((1 + slowest) / 2) if sites > 1 else 1.0


def _iid(groups: Sequence[_Group], config: PartitionConfig, seed: int) -> Shares:
    even = _Cut(range(config.sites), [1 / config.sites] * config.sites)
    return dict.fromkeys(_strata(groups), even)


def _dirichlet(groups: Sequence[_Group], config: PartitionConfig, seed: int) -> Shares:
    return {stratum: _draw(config, seed, stratum) for stratum in _strata(groups)}


def _quantity(groups: Sequence[_Group], config: PartitionConfig, seed: int) -> Shares:
    sizes = _draw(config, seed, "")
    return dict.fromkeys(_strata(groups), sizes)


def _natural(groups: Sequence[_Group], config: PartitionConfig, seed: int) -> Shares:
    """Owners to sites, largest first to the least loaded; too few owners: the largest are cut."""
    if any(not group.stratum for group in groups):
        raise FedbenchError(
            "This task names no natural owner for its examples: use a partition of kind iid, "
            "dirichlet or quantity, or name an attribute in the task's file."
        )
    sizes = Counter(group.stratum for group in groups for _ in group.ids)
    pieces = _pieces(sizes, config.sites)
    shares: dict[str, dict[int, float]] = {owner: {} for owner in sizes}
    loads = [(0.0, site) for site in range(config.sites)]
    for owner in sorted(sizes, key=lambda owner: (-sizes[owner] / pieces[owner], owner)):
        for _ in range(pieces[owner]):
            load, site = loads[0]
            heapq.heapreplace(loads, (load + sizes[owner] / pieces[owner], site))
            shares[owner][site] = shares[owner].get(site, 0.0) + 1 / pieces[owner]
    return {
        owner: _Cut(sorted(mine), [mine[site] for site in sorted(mine)])
        for owner, mine in shares.items()
    }


def _pieces(sizes: Mapping[str, int], sites: int) -> Mapping[str, int]:
    """Into how many pieces each owner is cut: whoever has the largest, until there are enough."""
    pieces = dict.fromkeys(sizes, 1)
    largest = [(-float(size), owner) for owner, size in sizes.items()]
    heapq.heapify(largest)
    for _ in range(sites - len(sizes)):
        owner = largest[0][1]
        pieces[owner] += 1
        heapq.heapreplace(largest, (-sizes[owner] / pieces[owner], owner))
    return pieces


KINDS: Mapping[str, Callable[[Sequence[_Group], PartitionConfig, int], Shares]] = {
    "iid": _iid,
    "dirichlet": _dirichlet,
    "label": _dirichlet,
    "quantity": _quantity,
    "natural": _natural,
}

#: what of an example it is dealt by, where that is not its topic
STRATA: Mapping[str, str] = {"label": "label", "natural": "attribute"}


def _draw(config: PartitionConfig, seed: int, stratum: str) -> _Cut:
    assert config.alpha is not None  # PartitionConfig has checked it
    drawn = generator("shares", seed, stratum).dirichlet([config.alpha] * config.sites)
    return _Cut(range(config.sites), drawn)


def _deal(
    members: Sequence[_Group], shares: ArrayLike, random: np.random.Generator
) -> list[list[str]]:
    """Cut a shuffled stratum by shares; a random offset makes the rounding fair to every site."""
    order = random.permutation(len(members))
    edges = np.cumsum(shares)
    cuts = np.floor(edges / edges[-1] * len(members) + random.random()).astype(int)
    cuts[-1] = len(members)
    bounds = [0, *(int(cut) for cut in np.minimum(cuts, len(members)))]
    return [
        [i for index in order[start:stop] for i in members[index].ids]
        for start, stop in pairwise(bounds)
    ]


def _groups(examples: Iterable[Example], stratum: str) -> list[_Group]:
    members: dict[tuple[str, Split], list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.id):
        members.setdefault((example.group, example.split), []).append(example)
    return [
        _Group(key, split, getattr(found[0], stratum), tuple(example.id for example in found))
        for (key, split), found in sorted(members.items())
    ]


def _by_stratum(groups: Iterable[_Group]) -> dict[tuple[str, Split], list[_Group]]:
    strata: dict[tuple[str, Split], list[_Group]] = {}
    for group in groups:
        strata.setdefault((group.stratum, group.split), []).append(group)
    return strata


def _strata(groups: Iterable[_Group]) -> list[str]:
    return sorted({group.stratum for group in groups})


def _site_names(count: int) -> list[str]:
    width = max(2, len(str(count - 1)))
    return [f"site-{number:0{width}d}" for number in range(count)]


def _plain(sites: Mapping[str, Holding]) -> dict[str, dict[str, list[str]]]:
    return {site: {split: list(held[split]) for split in SPLITS} for site, held in sites.items()}
