"""One or more rounds of a rule on toy tensors, without a model."""

from __future__ import annotations

from types import SimpleNamespace

from fedbench.federation import weighted_sum
from fedbench.rules import rule_of

LORA = SimpleNamespace(method="lora")


def rounds(text, start, many, between=lambda state: None):
    """The adapter after a round for each of ``many``.

    A round is a list of (function from what a site received to what it made of it, examples).
    """
    rule = rule_of(text)
    state = rule.init(start, LORA)
    for sites in many:
        heard = []
        for number, (train, examples) in enumerate(sites):
            message = rule.broadcast(state, f"site-{number:02d}")
            frozen = rule.local(message, {}).frozen
            trained = {**train(message.adapter), **{n: message.adapter[n] for n in frozen}}
            heard.append(rule.upload(message, trained, {}, examples)[0])
        reduced = weighted_sum(iter(heard)) if rule.reduce == "sum" else iter(heard)
        state = rule.server(state, reduced)
        between(state)
    return rule.broadcast(state, "site-00").adapter


def becomes(trained):
    """A site that ends with ``trained``, whatever it received."""
    return lambda received: trained


def moves(update):
    """A site that adds ``update`` to what it received."""
    return lambda received: {name: value + update[name] for name, value in received.items()}
