"""Shadow sites: one local training for each draw of members, and what their adapters tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from fedbench.config import RunConfig
from fedbench.evaluate import score
from fedbench.leakage.canaries import Ints, draw_answers, exposures
from fedbench.leakage.membership import Bools, Floats, coin_flips
from fedbench.leakage.subjects import Subjects
from fedbench.models.tensors import Tensors, load_tensors
from fedbench.privacy.per_example import poisson_batches
from fedbench.seeding import seeded
from fedbench.streams import seed_of
from fedbench.tokens import Answered
from fedbench.train import Gradient, LocalObjective, batches_of_turn, examples_of_turn, train


@dataclass(frozen=True)
class Draws:
    """The coin flips of all shadow sites; rows are shadows."""

    members: Bools  #: (shadows, pool)
    inserted: Bools  #: (shadows, canaries)
    answers: Ints  #: (shadows, canaries), index among the candidates


@dataclass(frozen=True)
class Observed:
    """What attacks read off the adapters that a server holds; rows are shadows."""

    losses: Floats  #: (shadows, pool), nats, summed over an answer's tokens
    exposures: Floats  #: (shadows, canaries), bits


def draw(subjects: Subjects, shadows: int, seed: int) -> Draws:
    """Flip the coins of so many shadow sites, from the streams "membership" and "canaries"."""
    canaries = len(subjects.canaries)
    return Draws(
        coin_flips(shadows, len(subjects.pool), seed, "pool"),
        coin_flips(shadows, canaries, seed, "canaries"),
        draw_answers(shadows, canaries, subjects.candidates, seed),
    )


def held(subjects: Subjects, draws: Draws, shadow: int) -> list[Answered]:
    """What a shadow site trains on: its members, and the canaries inserted at it."""
    members = [subjects.pool[i] for i in np.flatnonzero(draws.members[shadow])]
    inserted = np.flatnonzero(draws.inserted[shadow])
    return members + [subjects.canary(int(c), draws.answers[shadow, c]) for c in inserted]


def site_update(
    model: nn.Module,
    initial: Tensors,
    sequences: Sequence[Answered],
    config: RunConfig,
    gradient: Gradient | None,
    sampled: tuple[float, int] | None,
    *key: int | str,
) -> Tensors:
    """What one site sends after one round of local training from ``initial``: the change.

    Batches are Poisson samples of the rate and number in ``sampled``, or else passes over all
    examples. ``key`` names the site in the streams that order its batches and draw its dropout.
    """
    load_tensors(model, initial)
    named = (config.seed, "leakage", *key)
    count = len(sequences)
    if sampled is not None:
        batches = poisson_batches(count, *sampled, *named)
    else:
        chosen = examples_of_turn(count, count * config.passes, 0, *named)
        lengths = [len(answered.tokens) for answered in sequences]
        batches = batches_of_turn(lengths, chosen, config.batch_size, *named)
    steps = [[sequences[i] for i in batch] for batch in batches]
    with seeded(seed_of("dropout", *named)):
        train(model, steps, config, (0.0, 1.0), LocalObjective(), gradient)
    trained = {n: p.detach().cpu() for n, p in model.named_parameters() if p.requires_grad}
    return {name: trained[name] - tensor for name, tensor in initial.items()}


def losses_of(model: nn.Module, subjects: Subjects) -> Floats:
    """Loss of every example of the pool under the adapter that ``model`` has, in nats.

    Shape (pool,), summed over an answer's tokens.
    """
    device = next(model.parameters()).device.type
    scores = score(model, subjects.asked, device, mean=False)
    return -np.array([row[0] for row in scores], dtype=np.float64)


def observe(
    model: nn.Module,
    initial: Tensors,
    seen: Callable[[int], Tensors],
    subjects: Subjects,
    answers: Ints,
) -> Observed:
    """Losses and exposures under the adapter that the server computes from each shadow's update.

    Args:
        model: with the method's trainable tensors.
        initial: the adapter that the server had sent.
        seen: the update that the server sees of a shadow site, by its number.
        subjects: what may have been trained on.
        answers: of the canaries, by shadow.
    """
    losses, exposed = [], []
    for shadow, drawn in enumerate(answers):
        update = seen(shadow)
        load_tensors(model, {name: tensor + update[name] for name, tensor in initial.items()})
        device = next(model.parameters()).device.type
        losses.append(losses_of(model, subjects))
        ranked = -np.stack(score(model, subjects.canaries, device, mean=False))
        exposed.append(exposures(ranked, drawn))
    return Observed(np.array(losses), np.array(exposed))
