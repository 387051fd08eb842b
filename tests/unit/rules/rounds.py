"""One or more rounds of a rule on toy tensors, without a model."""

from __future__ import annotations

from types import SimpleNamespace

from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Work

LORA = SimpleNamespace(method="lora", participation=1.0)


def rounds(text, start, many, between=lambda state: None):
    """The adapter after a round for each of ``many``, and what was added to the backbone.

    A round is a list of (function from what a site received to what it made of it, examples).
    """
    rule = rule_of(text)
    state = rule.init(start, LORA)
    for sites in many:
        heard = []
        for number, (train, examples) in enumerate(sites):
            message = rule.broadcast(state, f"site-{number:02d}")
            frozen = rule.local(message, {}).frozen
            received = rule.own(message, {}, start)
            trained = {**train(received), **{n: received[n] for n in frozen}}
            heard.append(rule.upload(message, trained, {}, Work(examples, 1, 1.0))[0])
        reduced = weighted_sum(iter(heard)) if rule.reduce == "sum" else iter(heard)
        state = rule.server(state, reduced)
        between(state)
    told = rule.broadcast(state, "site-00")
    return start | told.adapter | {f"delta/{name}": tensor for name, tensor in told.delta.items()}


def becomes(trained):
    """A site that ends with ``trained``, whatever it received."""
    return lambda received: trained


def moves(update):
    """A site that adds ``update`` to what it received."""
    return lambda received: {name: value + update[name] for name, value in received.items()}
