"""The checks: each plays a few rounds of an aggregator and measures one relative error.

An error is the norm of the difference between what the shared adapter adds to the weights and what
it should add, over the norm of the latter. Factors themselves are never compared: B A is what a
model computes, and different factors can have the same product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedbench.conformance.subject import Adapter, Round, Site, Subject
from fedbench.conformance.world import (
    RANK,
    SCALE,
    Weights,
    added,
    cut,
    distance,
    drawn,
    mean,
    moving,
    narrow,
    still,
)
from fedbench.rules.lora_halves import downs, ups
from fedbench.rules.rule import Claim

TOLERANCE = 1e-5  #: fp32, and decompositions of small matrices
START = drawn(0)
FRESH = {name: value * (name not in ups(START)) for name, value in START.items()}
SITES = [moving(1, 1), moving(2, 5), moving(3, 2), moving(4, 4), moving(5, 3)]
#: sites that hold one, two and three ranks
NARROW = [narrow(site, rank) for site, rank in zip(SITES, (1, 2, RANK, 2), strict=False)]
WEIGHTED: frozenset[Claim] = frozenset({"weighted"})
ALONE: frozenset[Claim] = frozenset({"alone"})
EXACT: frozenset[Claim] = frozenset({"exact"})
RANKS: frozenset[Claim] = frozenset({"ranks"})


@dataclass(frozen=True)
class Check:
    """A question, and how far an aggregator is from the right answer."""

    name: str
    question: str
    error: Callable[[Subject], float]
    claims: frozenset[Claim] = frozenset()  #: it can fail only for who claims all of these
    limit: float = TOLERANCE


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: Check
    error: float  #: relative; nan where the aggregator raised
    verdict: str  #: ``passed``, ``failed``, or ``not claimed``
    reason: str = ""  #: what the aggregator raised


def examine(subject: Subject) -> list[Finding]:
    """All checks of one aggregator."""
    return [_finding(check, subject) for check in CHECKS]


def _finding(check: Check, subject: Subject) -> Finding:
    claimed = check.claims <= subject.claims
    try:
        error = check.error(subject)
    except Exception as raised:  # somebody else's code may raise anything
        verdict = "failed" if claimed else "not claimed"
        return Finding(check, float("nan"), verdict, f"{type(raised).__name__}: {raised}")
    if not claimed:
        return Finding(check, error, "not claimed")
    return Finding(check, error, "passed" if error <= check.limit else "failed")


def _played(subject: Subject, *rounds: list[Site], start: Adapter = START) -> Round:
    return subject.play(start, rounds, SCALE)[-1]


def _adds(subject: Subject, *rounds: list[Site]) -> Weights:
    return added(_played(subject, *rounds).shared)


def _identical(subject: Subject) -> float:
    pair, many = ([moving(1, examples=2)] * count for count in (2, 5))
    return distance(_adds(subject, many), _adds(subject, pair))


def _order(subject: Subject) -> float:
    expected = _adds(subject, SITES)
    orders = (SITES[::-1], SITES[2:] + SITES[:2], SITES[1::2] + SITES[::2])
    return max(distance(_adds(subject, order), expected) for order in orders)


def _ratio(subject: Subject) -> float:
    many = [site._replace(examples=10 * site.examples) for site in SITES]
    return distance(_adds(subject, many), _adds(subject, SITES))


def _weight(subject: Subject) -> float:
    """How far a site with nearly all examples is from deciding, over that with hardly any."""
    few, many = 1, 10**6
    light, heavy = SITES[0], SITES[1]
    alone = _adds(subject, [heavy._replace(examples=few)])
    heard, ignored = (
        distance(_adds(subject, [light._replace(examples=n), heavy._replace(examples=m)]), alone)
        for n, m in ((few, many), (many, few))
    )
    return heard / ignored if ignored else 1.0


def _heard(subject: Subject) -> float:
    """1 if four sites that agree are not heard behind one that does not, else 0."""
    first, others = moving(1), moving(2)
    ignored = _adds(subject, [first] * 5)
    return float(distance(_adds(subject, [first, *[others] * 4]), ignored) < 1e-3)


def _still(subject: Subject) -> float:
    return distance(_adds(subject, *[[still(3), still(1), still(4)]] * 4), added(START))


def _alive(subject: Subject) -> float:
    """1 if, of factors whose product is zero, a direction is left with both parts zero."""
    after = _played(subject, [still(), still()], start=FRESH).shared
    return float(any(not after[name].abs().sum(1).all() for name in downs(after)))


def _alone(subject: Subject) -> float:
    found = _played(subject, [moving(1)])
    return distance(added(found.shared), added(found.trained[0]))


def _memory(subject: Subject) -> float:
    """The same after a round of others: nothing of theirs may come back."""
    before, after = subject.play(START, [SITES[:3], [moving(7)]], SCALE)
    return distance(added(after.shared), added(_backbone(before) | after.trained[0]))


def _backbone(found: Round) -> Adapter:
    """What was added to the frozen weights so far."""
    return {name: value for name, value in found.shared.items() if name not in START}


def _truth(found: Round, sites: list[Site]) -> Weights:
    return mean([added(each) for each in found.trained], [site.examples for site in sites])


def _exact(subject: Subject) -> float:
    found = _played(subject, SITES)
    return distance(added(found.shared), _truth(found, SITES))


def _best(subject: Subject) -> float:
    found = _played(subject, SITES)
    best = {module: cut(weight, RANK) for module, weight in _truth(found, SITES).items()}
    return distance(added(found.shared), best)


def _few(subject: Subject) -> float:
    """One with fewer ranks alone, after a round of others."""
    before, after = subject.play(START, [SITES[:3], [NARROW[0]]], SCALE)
    return distance(added(after.shared), added(_backbone(before) | after.trained[0]))


def _unequal(subject: Subject) -> float:
    """In the second of two rounds, when ranks that some sites lack have been learned by others."""
    before, after = subject.play(START, [NARROW, NARROW[::-1]], SCALE)
    truth = mean([added(_backbone(before) | each) for each in after.trained],
                 [site.examples for site in NARROW[::-1]])  # fmt: skip
    return distance(added(after.shared), truth)


CHECKS = (
    Check("identical sites", "Are many identical sites as good as two?", _identical),
    Check("order", "Does the order of sites not matter?", _order),
    Check("all heard", "Do sites behind the first one count?", _heard),
    Check("ratio", "Do ten times the examples everywhere change nothing?", _ratio),
    Check("weight", "Does a site with more examples count more?", _weight, WEIGHTED, 0.2),
    Check("no drift", "Does the model stay where no site learns anything?", _still),
    Check("alive", "Can all directions still learn where B is zero?", _alive),
    Check("one site", "Does a site alone become the shared adapter?", _alone, ALONE),
    Check("memory", "Also after a round of others?", _memory, ALONE),
    Check("exact", "Is it the true mean of B A over sites?", _exact, EXACT),
    Check("best", "Is it the best of the shared rank for that mean?", _best, frozenset({"best"})),
    Check("fewer ranks", "Also if the site alone has fewer ranks?", _few, ALONE | RANKS),
    Check("unequal ranks", "Is it exact for unequal ranks, too?", _unequal, EXACT | RANKS),
)
