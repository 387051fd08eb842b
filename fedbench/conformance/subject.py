"""What is checked: a rule of ours, or somebody else's function, played on toy adapters.

Somebody else's aggregator is a function

    aggregate(shared, trained, examples, scale) -> shared

of the shared adapter that all sites received, what each of them made of it, how many examples each
has, and LoRA's scale alpha / r. Adapters are dictionaries of tensors, named as peft names them:
``<module>.lora_A.default.weight`` of shape (rank, in) and ``<module>.lora_B.default.weight`` of
shape (out, rank). Where the result also holds ``<module>.weight`` of shape (out, in), that is to be
added to the frozen weight, from now on and in all rounds to come; sites do not train it. Where it
claims ``ranks``, what a site made may hold the first ranks only: rows of A, columns of B. What the
function promises may stand in its attribute ``claims``, a set of names of
:data:`fedbench.rules.rule.Claim`; without it, it promises what FedAvg does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import NamedTuple, get_args

from torch import Tensor

from fedbench.errors import FedbenchError
from fedbench.models.ranks import narrowed, padded
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.lora_halves import DOWN, UP, downs
from fedbench.rules.rule import USUAL, Claim, Message, Rule, State, Work

Adapter = dict[str, Tensor]
Aggregate = Callable[[Adapter, Sequence[Adapter], Sequence[int], float], Adapter]


class Site(NamedTuple):
    """A site of a round."""

    train: Callable[[Adapter], Adapter]  #: what it makes of the adapter that it received
    examples: int
    rank: int | None = None  #: how many ranks it holds, the first ones; all if none are told


@dataclass(frozen=True)
class Round:
    """What came of one round."""

    shared: Adapter  #: afterwards
    trained: list[Adapter]  #: what each site really ended with, parts held still included


Play = Callable[[Adapter, Sequence[Sequence[Site]], float], list[Round]]


@dataclass(frozen=True)
class Subject:
    """An aggregator to be checked."""

    name: str
    play: Play
    claims: frozenset[Claim]


def subject_of(text: str) -> Subject:
    """A rule by its name, or somebody else's function as ``module:function``.

    Raises:
        FedbenchError: there is neither.
    """
    module, _, function = text.partition(":")
    if "." not in module and (not function or "=" in function):
        return of_rule(text)  # a rule's options are told with =
    if not function:
        raise FedbenchError(f"{text} names a module and no function in it: write {text}:FUNCTION.")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # somebody else's module may raise anything
        raise FedbenchError(
            f"{text} cannot be imported ({type(error).__name__}: {error}): name a rule, or "
            "package.module:function as Python finds it from here."
        ) from None
    if not callable(found):
        raise FedbenchError(f"{text} is no function: name one that aggregates.")
    if unknown := sorted({*getattr(found, "claims", ())} - {*get_args(Claim)}):
        raise FedbenchError(
            f"{text} claims {unknown[0]!r}, which is not known (allowed: "
            f"{', '.join(get_args(Claim))})."
        )
    return of_function(text, found)


def of_function(name: str, aggregate: Aggregate) -> Subject:
    """Somebody else's aggregator, which keeps no state of its own."""

    def play(shared: Adapter, rounds: Sequence[Sequence[Site]], scale: float) -> list[Round]:
        done = []
        for sites in rounds:
            # Copies: what an aggregator does to its arguments must not reach the next check.
            received = {name: tensor for name, tensor in shared.items() if _is_factor(name)}
            trained = [_trained(site, received) for site in sites]
            kept = [padded(each, _rank(received)) for each in map(_copied, trained)]
            examples = [site.examples for site in sites]
            shared = aggregate(_copied(shared), trained, examples, scale)
            done.append(Round(_copied(shared), kept))
        return done

    return Subject(name, play, frozenset(getattr(aggregate, "claims", USUAL)))


def of_rule(name: str, rule: Rule | None = None) -> Subject:
    """A rule, with its state between rounds, and without the payloads that carry it.

    Of an adapter that sites keep in part, the rest is as it was at first.
    """
    played = rule or rule_of(name)

    def play(start: Adapter, rounds: Sequence[Sequence[Site]], scale: float) -> list[Round]:
        state = played.init(start, _lora(start, scale))  # type: ignore[arg-type]
        rank = _rank(start)
        at_sites: dict[str, State] = {}
        done = []
        for sites in rounds:
            heard, kept = [], []
            for number, site in enumerate(sites):
                name = f"site-{number:02d}"
                message = _cut(played.broadcast(state, name), site, rank)
                before = at_sites.get(name, {})
                received = played.own(message, before, start)
                held = {name: received[name] for name in played.local(message, before).frozen}
                trained = padded(_trained(site, received), rank) | held
                kept.append(_copied(trained))
                work = Work(site.examples, steps=2, rates=0.5)
                given, at_sites[name] = played.upload(message, trained, before, work)
                heard.append(given)
            each = iter(heard)
            state = played.server(state, weighted_sum(each) if played.reduce == "sum" else each)
            told = played.broadcast(state, "site-00")
            done.append(Round(_copied(start | told.adapter) | _dense(told.delta, scale), kept))
        return done

    return Subject(name, play, played.claims)


def _trained(site: Site, received: Adapter) -> Adapter:
    """What a site makes of an adapter, with as many ranks as it holds."""
    made = site.train(_copied(received))
    return made if site.rank is None else narrowed(made, site.rank)


def _cut(message: Message, site: Site, rank: int) -> Message:
    """The message as a site reads it: with zeros for ranks that it does not hold."""
    held = site.rank or rank
    adapter, extra = (padded(narrowed(s, held), rank) for s in (message.adapter, message.extra))
    return replace(message, adapter=adapter, extra=extra)


def _rank(adapter: Adapter) -> int:
    return max(adapter[name].shape[0] for name in downs(adapter))


def _dense(delta: State, scale: float) -> Adapter:
    """By module, what a delta adds to its weight."""
    ups = {name.partition(UP)[0]: up for name, up in delta.items() if UP in name}
    downs = {name.partition(DOWN)[0]: down for name, down in delta.items() if DOWN in name}
    return {f"{m}.weight": scale * up.double() @ downs[m].double() for m, up in ups.items()}


def _lora(shared: Adapter, scale: float) -> SimpleNamespace:
    """What rules ask of a configuration."""
    rank = next(len(tensor) for name, tensor in shared.items() if DOWN in name)
    return SimpleNamespace(method="lora", participation=1.0, rank=rank, alpha=scale * rank)


def _is_factor(name: str) -> bool:
    return DOWN in name or UP in name


def _copied(adapter: Adapter) -> Adapter:
    return {name: tensor.clone() for name, tensor in adapter.items()}
