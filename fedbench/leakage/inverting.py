"""Gradient inversion, measured: batches of a task, one step of SGD each, tokens read off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.leakage.defences import Defence
from fedbench.leakage.inversion import (
    Overlap,
    distances,
    distances_through,
    first_factors,
    first_gradients,
    first_inputs,
    gradient_of_step,
    in_span,
    most_frequent,
    nearest,
    overlap,
    tokens_read,
)
from fedbench.models.attached import attached
from fedbench.models.tensors import Tensors, load_tensors, trained_tensors
from fedbench.prepare import prepare
from fedbench.seeding import single_thread
from fedbench.streams import generator
from fedbench.tokens import Answered, training_sequence
from fedbench.train import Gradient, LocalObjective, train

QUERY = ("q_proj",)
ALL = ("q_proj", "k_proj", "v_proj")  #: what reads the first norm's output
EVERY_POSITION = ("k_proj", "v_proj")  #: what tells of first positions, too
TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
NOTHING = Defence("none")
_RATE = 0.1  #: of the step that is inverted
#: Steps before it on other examples, as in any round but the first: LoRA's B is not zero then.
LATER = 8


@dataclass(frozen=True)
class Inverted:
    """Means over batches of what was recovered."""

    defence: str
    method: str
    projections: tuple[str, ...]
    batch_size: int
    before: int  #: steps on other examples before the one that is inverted
    tolerance: float  #: of those tried, the one under which most tokens were recovered
    tokens: float  #: different tokens that a batch reads
    span: Overlap  #: tokens that pass the span check
    nearest: Overlap  #: as many tokens as there are, nearest to the span
    baseline: Overlap  #: as many tokens, the most frequent ones of other examples

    def to_json(self) -> dict[str, Any]:
        """As a plain value."""
        return asdict(self)


def invert(
    config: RunConfig,
    batch_size: int,
    defence: Defence = NOTHING,
    *,
    batches: int = 6,
    before: int = LATER,
    projections: Sequence[str] = ALL,
    tolerances: Sequence[float] = TOLERANCES,
) -> Inverted:
    """Invert one step of SGD on each of several batches.

    Where the gradients of LoRA's A are zero, those of B are read. Of the tolerances, the one is
    reported that serves the attack best: an attacker who has to choose it blindly recovers no more.

    Args:
        config: resolved; task, backbone and method are read.
        batch_size: examples of a batch.
        defence: the site steps along its gradient, and its transform is applied to the update.
            Batches are of one size, also where the defence would draw them by chance.
        batches: drawn from the task's training examples.
        before: steps on other examples from which the inverted one starts, 0 in the very first.
        projections: whose gradients are used.
        tolerances: see :data:`fedbench.leakage.inversion.TOLERANCE`.

    Raises:
        FedbenchError: the method trains no matrix that reads tokens, or the task has fewer
            examples than the batches take.
    """
    drawn, rest = _drawn(config, batch_size, batches)
    with single_thread(), attached(config) as model:
        _go_before(model, rest, config, before)
        start, inputs = trained_tensors(model), first_inputs(model)
        gradients = _gradients(model, drawn, config, defence)
    read = [_reader(g, start, config.method, projections, inputs) for g in gradients]
    tried = [_judged([of(t) for of in read], drawn, rest) for t in tolerances]
    best = max(range(len(tried)), key=lambda i: tried[i][1].recall)
    span, close, baseline = tried[best]
    return Inverted(
        defence=defence.name,
        method=config.method,
        projections=tuple(projections),
        batch_size=batch_size,
        before=before,
        tolerance=tolerances[best],
        tokens=close.guessed,
        span=span,
        nearest=close,
        baseline=baseline,
    )


def _drawn(
    config: RunConfig, size: int, batches: int
) -> tuple[list[list[Answered]], list[Answered]]:
    """Batches of the task's training examples, and the examples that are in none."""
    sequences = _sequences(config)
    if len(sequences) <= (needed := batches * size):
        raise FedbenchError(
            f"Inversion of {needed} examples needs others beside them and the task has "
            f"{len(sequences)} training examples: take fewer or smaller batches."
        )
    order = generator("inversion", config.seed).permutation(len(sequences))
    shuffled = [sequences[i] for i in order]
    return [shuffled[i * size : (i + 1) * size] for i in range(batches)], shuffled[needed:]


def _reader(
    gradient: Tensors, start: Tensors, method: str, projections: Sequence[str], inputs: Tensor
) -> Callable[[float], Tensor]:
    """Distances of all tokens from what the gradient spans, by tolerance."""
    rows = first_gradients(gradient, method, projections)
    factors = first_factors(gradient, start, projections)
    if factors and not rows.any():
        return lambda tolerance: distances_through(factors, inputs, tolerance)
    return lambda tolerance: distances(rows, inputs, tolerance)


def _gradients(
    model: nn.Module, batches: Sequence[Sequence[Answered]], config: RunConfig, defence: Defence
) -> list[Tensors]:
    """What a server takes for the gradient of each batch, from the update of one step on it."""
    settings = {"optimizer": "sgd", "schedule": "constant", "learning_rate": _RATE, "warmup": 0.0}
    stepping = config.model_copy(update=settings)
    start = trained_tensors(model)
    found = []
    for number, batch in enumerate(batches):
        update = _step(model, start, batch, stepping, defence.gradient("inverted", number))
        found.append(gradient_of_step(defence.sent(number)(update), _RATE))
    return found


def _judged(
    measured: Sequence[Tensor], batches: Sequence[Sequence[Answered]], rest: Sequence[Answered]
) -> list[Overlap]:
    """Means over batches of the span check, of the nearest tokens and of the baseline."""
    found = []
    for distance, batch in zip(measured, batches, strict=True):
        truth = tokens_read(batch)
        count = len(truth)
        guesses = (in_span(distance), nearest(distance, count), most_frequent(rest, count))
        found.append([overlap(guess, truth) for guess in guesses])
    return [_mean(column) for column in zip(*found, strict=True)]


def _step(
    model: nn.Module,
    start: Tensors,
    batch: Sequence[Answered],
    config: RunConfig,
    gradient: Gradient | None,
) -> Tensors:
    """The update of one step on ``batch``."""
    load_tensors(model, start)
    train(model, [batch], config, (0.0, 1.0), LocalObjective(), gradient)
    return {name: tensor - start[name] for name, tensor in trained_tensors(model).items()}


def _go_before(
    model: nn.Module, sequences: Sequence[Answered], config: RunConfig, before: int
) -> None:
    """The rounds before: a few steps on other examples."""
    size = config.batch_size
    steps = [sequences[i * size : (i + 1) * size] for i in range(before)]
    train(model, [step for step in steps if step], config, (0.0, 1.0), LocalObjective())


def _sequences(config: RunConfig) -> list[Answered]:
    prepared = prepare(config)
    end = prepared.tokenizer.eos_token_id
    pairs = zip(prepared.of_split("train"), prepared.tokenised("train"), strict=True)
    return [training_sequence(example, tokens, end) for example, tokens in pairs]


def _mean(found: Sequence[Overlap]) -> Overlap:
    columns = zip(*((o.guessed, o.precision, o.recall) for o in found), strict=True)
    return Overlap(*(float(np.mean(column)) for column in columns))
