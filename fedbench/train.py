"""Local training: which examples a site processes in a round, in which batches, and the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedbench.config import RunConfig
from fedbench.errors import of_memory
from fedbench.forward import Batch, collate, flop_counter, supervised_logits
from fedbench.optimizers import Start, fresh
from fedbench.streams import generator
from fedbench.tokens import Answered

#: Batches whose examples are sorted by length together: enough to save padding, few enough
#: that a batch is still nearly a random draw.
_BUCKET = 8


class NoMemory(Exception):
    """Memory does not hold even one sequence; the text is a sentence."""


class Accumulated(NamedTuple):
    """What came of a batch beside the gradient, which is in the parameters."""

    loss: Tensor  #: which nobody waits for
    flops: int
    micro_batch: int | None = None  #: sequences at a time, where memory did not hold them all


#: Accumulates the gradient of a batch of sequences.
Gradient = Callable[[nn.Module, Sequence[Answered]], Accumulated]


@dataclass(frozen=True)
class LocalObjective:
    """What a rule adds to plain training; the defaults add nothing."""

    #: extra loss term, a function of the trainable parameters by name
    penalty: Callable[[Mapping[str, nn.Parameter]], Tensor] | None = None
    #: added to the gradient of the parameters by name, such as a control variate
    correction: Mapping[str, Tensor] | None = None
    #: names of trainable parameters that stay as they were received
    frozen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TrainReport:
    """What local training did."""

    steps: int
    rates: float  #: sum of the learning rate over all steps
    examples: int  #: examples processed, repeats counted
    tokens: int  #: tokens processed, prompts included, padding not
    flops: int  #: floating point operations of all forward and backward passes
    loss: float  #: mean over steps of the answer-token cross entropy, in nats; 0 without steps
    micro_batch: int | None = None  #: fewest sequences at a time, where memory did not hold a batch


def plain(model: nn.Module, batch: Batch) -> Tensor:
    """Accumulate the gradient of the mean answer-token loss; return the loss."""
    loss = cross_entropy(supervised_logits(model, batch), batch.targets)
    loss.backward()
    return loss.detach()


def by_batch(model: nn.Module, config: RunConfig, holds: int | None = None) -> Gradient:
    """The gradient of the mean answer-token loss of a batch.

    A batch that memory does not hold is halved, and its parts again, until they fit; later batches
    are cut like it. Parts weigh as much as they have answer tokens, so that the gradient is the
    same to rounding. ``holds`` is the most sequences that memory is made to hold.

    The gradient raises NoMemory where not even one sequence fits.
    """
    count_flops = flop_counter(model)
    fits = math.inf  # sequences at a time

    def at_once(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
        size = len(sequences) if fits >= len(sequences) else int(fits)
        if holds is not None and size > holds:
            raise torch.OutOfMemoryError("Out of memory, which was made to hold fewer sequences.")
        parts = [sequences[i : i + size] for i in range(0, len(sequences), size)]
        batches = [_collated(part, config) for part in parts]
        flops = sum(map(count_flops, batches))
        if len(batches) == 1:
            return Accumulated(plain(model, batches[0]), flops)
        return Accumulated(_in_parts(model, batches), flops, size)

    def gradient(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
        nonlocal fits
        while True:
            try:
                return at_once(model, sequences)
            except (RuntimeError, MemoryError) as error:
                if not of_memory(error):
                    raise
            # Only here, where nothing holds on to what was computed, is memory free again.
            _discard(model)
            fits = min(fits, len(sequences)) // 2
            if not fits:
                raise NoMemory("Its memory does not hold even one example of a training step.")

    return gradient


def _collated(sequences: Sequence[Answered], config: RunConfig) -> Batch:
    return collate(
        [s.tokens for s in sequences],
        [s.start for s in sequences],
        config.device,
        share=config.dropout == 0,
    )


def _in_parts(model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """Accumulate the gradient of the mean loss over all answer tokens of several batches."""
    tokens = sum(len(batch.targets) for batch in batches)
    losses = []
    for batch in batches:
        logits = supervised_logits(model, batch)
        loss = cross_entropy(logits, batch.targets, reduction="sum") / tokens
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def _discard(model: nn.Module) -> None:
    """Forget what a batch that was not finished left in the parameters."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def examples_of_turn(count: int, quota: float, turn: int, *key: int | str) -> list[int]:
    """Indices of the examples that a site processes at its ``turn``-th participation.

    A site walks through endless shuffled passes over its ``count`` examples and takes ``quota``
    of them each turn, so after T turns it has processed floor(T * quota), whatever the rounding.
    """
    first, last = math.floor(turn * quota + 1e-9), math.floor((turn + 1) * quota + 1e-9)
    passes = range(first // count, -(-last // count))
    order = [i for p in passes for i in generator("batches", *key, p).permutation(count).tolist()]
    offset = (first // count) * count
    return order[first - offset : last - offset]


def batches_of_turn(
    lengths: Sequence[int], chosen: Sequence[int], size: int, *key: int | str
) -> list[list[int]]:
    """Cut ``chosen`` examples into batches of similar length, in shuffled order."""
    window = size * _BUCKET
    batches = [
        bucket[i : i + size]
        for start in range(0, len(chosen), window)
        for bucket in [sorted(chosen[start : start + window], key=lambda i: lengths[i])]
        for i in range(0, len(bucket), size)
    ]
    order = generator("batch-order", *key).permutation(len(batches))
    return [batches[i] for i in order]


def learning_rate(config: RunConfig, progress: float) -> float:
    """Learning rate when ``progress`` (0 to 1) of the whole run is done: warm-up, then schedule."""
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (progress - config.warmup) / (1 - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: nn.Module,
    batches: Sequence[Sequence[Answered]],
    config: RunConfig,
    progress: tuple[float, float],
    objective: LocalObjective,
    gradient: Gradient | None = None,
    start: Start | None = None,
) -> TrainReport:
    """Train in place with an optimizer whose state starts empty at every call.

    Args:
        model: with its trainable parameters set to what was received.
        batches: sequences of each step.
        config: optimizer settings.
        progress: share of the whole run done before and after this call, for the schedule.
        objective: what the federated rule adds.
        gradient: accumulates a batch's gradient; that of the mean answer-token loss by default.
        start: where the optimizer comes from; a new one by default.

    Whatever ends it, no gradient is left for whoever trains the model next.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    named = {name: p for name, p in trainable.items() if name not in objective.frozen}
    optimizer = (start or fresh(config))([*named.values()])
    before, after = progress
    accumulate = gradient or by_batch(model, config)
    found: list[Accumulated] = []
    rates = 0.0
    model.train()
    try:
        for step, sequences in enumerate(batches):
            # In the middle of its share of progress: at its end, the last rate would be zero.
            share = (step + 0.5) / len(batches)
            rate = learning_rate(config, before + share * (after - before))
            for group in optimizer.param_groups:
                group["lr"] = rate
            rates += rate
            found.append(accumulate(model, sequences))
            _apply(named, objective)
            nn.utils.clip_grad_norm_(named.values(), config.gradient_clip, foreach=True)
            optimizer.step()
            for parameter in trainable.values():
                parameter.grad = None
    finally:
        for parameter in trainable.values():
            parameter.grad = None
        model.eval()
    return _report(batches, found, rates)


def _apply(named: Mapping[str, nn.Parameter], objective: LocalObjective) -> None:
    if objective.penalty is not None:
        objective.penalty(named).backward()
    if objective.correction is not None:
        for name, parameter in named.items():
            if parameter.grad is not None:
                parameter.grad += objective.correction[name].to(parameter.device)


def _report(
    batches: Iterable[Sequence[Answered]], found: Sequence[Accumulated], rates: float
) -> TrainReport:
    sequences = [sequence for batch in batches for sequence in batch]
    losses = [each.loss for each in found]
    return TrainReport(
        steps=len(losses),
        rates=rates,
        examples=len(sequences),
        tokens=sum(len(sequence.tokens) - 1 for sequence in sequences),
        flops=sum(each.flops for each in found),
        loss=torch.stack(losses).double().mean().item() if losses else 0.0,
        micro_batch=min((each.micro_batch for each in found if each.micro_batch), default=None),
    )
