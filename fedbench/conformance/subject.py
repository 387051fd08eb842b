"""What is checked: a rule of ours, or somebody else's function, played on toy adapters.

Somebody else's aggregator is a function

    aggregate(shared, trained, examples, scale) -> shared

of the shared adapter that all sites received, what each of them made of it, how many examples each
has, and LoRA's scale alpha / r. Adapters are dictionaries of tensors, named as peft names them:
``<module>.lora_A.default.weight`` of shape (rank, in) and ``<module>.lora_B.default.weight`` of
shape (out, rank). Where the result also holds ``<module>.weight`` of shape (out, in), that is to be
added to the frozen weight, from now on and in all rounds to come; sites do not train it. What the
function promises may stand in its attribute ``claims``, a set of names of
:data:`fedbench.rules.rule.Claim`; without it, it promises what FedAvg does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from torch import Tensor

from fedbench.errors import FedbenchError
from fedbench.federation import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.lora_halves import DOWN, UP
from fedbench.rules.rule import USUAL, Claim, Rule

Adapter = dict[str, Tensor]
Aggregate = Callable[[Adapter, Sequence[Adapter], Sequence[int], float], Adapter]
#: what a site makes of the adapter that it received, and its number of examples
Site = tuple[Callable[[Adapter], Adapter], int]


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
    try:
        found = getattr(importlib.import_module(module), function) if "." in module else None
    except (ImportError, AttributeError) as error:
        raise FedbenchError(
            f"{text} cannot be imported ({error}): name a rule, or module.file:function."
        ) from None
    if found is None:
        return of_rule(text)
    return of_function(text, found)


def of_function(name: str, aggregate: Aggregate) -> Subject:
    """Somebody else's aggregator, which keeps no state of its own."""

    def play(shared: Adapter, rounds: Sequence[Sequence[Site]], scale: float) -> list[Round]:
        done = []
        for sites in rounds:
            # Copies: what an aggregator does to its arguments must not reach the next check.
            received = {name: tensor for name, tensor in shared.items() if _is_factor(name)}
            trained = [train(_copied(received)) for train, _ in sites]
            kept = [_copied(each) for each in trained]
            shared = aggregate(_copied(shared), trained, [n for _, n in sites], scale)
            done.append(Round(_copied(shared), kept))
        return done

    return Subject(name, play, frozenset(getattr(aggregate, "claims", USUAL)))


def of_rule(name: str, rule: Rule | None = None) -> Subject:
    """A rule, with its state between rounds, and without the payloads that carry it."""
    played = rule or rule_of(name)

    def play(shared: Adapter, rounds: Sequence[Sequence[Site]], scale: float) -> list[Round]:
        state = played.init(shared, SimpleNamespace(method="lora"))  # type: ignore[arg-type]
        done = []
        for sites in rounds:
            heard, kept = [], []
            for number, (train, examples) in enumerate(sites):
                message = played.broadcast(state, f"site-{number:02d}")
                still = played.local(message, {}).frozen
                held = {name: message.adapter[name] for name in still}
                trained = train(_copied(message.adapter)) | held
                kept.append(_copied(trained))
                heard.append(played.upload(message, trained, {}, examples)[0])
            each = iter(heard)
            state = played.server(state, weighted_sum(each) if played.reduce == "sum" else each)
            done.append(Round(_copied(played.broadcast(state, "site-00").adapter), kept))
        return done

    return Subject(name, play, played.claims)


def _is_factor(name: str) -> bool:
    return DOWN in name or UP in name


def _copied(adapter: Adapter) -> Adapter:
    return {name: tensor.clone() for name, tensor in adapter.items()}
