"""Ours and the others on the same work: same tensors to begin with, same batches, same steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from fedbench.bench import plain_loop, trainer_loop
from fedbench.bench.shapes import Batches, Size, attach, make_backbone
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.forward import collate, supervised_logits
from fedbench.models.tensors import count, trained_tensors
from fedbench.train import LocalObjective, TrainReport, train

#: Of a user's loop, as everybody sets it.
DROPOUT = 0.05
AGREEMENT = 1e-5  #: of the losses of a first step, relative

OURS = "ours"
PLAIN = "plain loop"
PLAIN_DRY = "plain loop, no dropout"
OURS_WET = "ours, same dropout"
TRAINER = "Trainer"


class Side(NamedTuple):
    """One contender: its model, and one call of its local training."""

    model: Any
    train: Callable[[Batches], object]


def ours(size: Size, config: RunConfig) -> Side:
    """This project's local training."""
    model = attach(make_backbone(size), config).eval()

    def local(batches: Batches) -> TrainReport:
        return train(model, batches, config, (0.0, 1.0), LocalObjective())

    return Side(model, local)


def plain(size: Size, config: RunConfig) -> Side:
    """A user's loop, with the dropout that ``config`` says."""
    model = attach(make_backbone(size), config)
    return Side(model, lambda batches: plain_loop.train(model, batches, config.learning_rate))


def trainer(size: Size, config: RunConfig) -> Side:
    """The same loop, left to ``transformers.Trainer``."""
    model = attach(make_backbone(size), config)
    return Side(model, lambda batches: trainer_loop.train(model, batches, config.learning_rate))


def first_losses(ours: Any, plain: Any, batches: Batches) -> tuple[float, float]:
    """Loss of both sides on the first batch, before any step and without dropout."""
    first = batches[0]
    batch = collate([s.tokens for s in first], [s.start for s in first], "cpu")
    with torch.no_grad():
        mine = torch.nn.functional.cross_entropy(supervised_logits(ours, batch), batch.targets)
        other = plain.eval()(**plain_loop.pad(first)).loss
    return float(mine), float(other)


def check_same_work(ours: Any, plain: Any, batches: Batches) -> dict[str, Any]:
    """Make sure that both sides train the same tensors and begin with the same loss.

    Returns:
        Both losses, and how many parameters there are and are trained.

    Raises:
        FedbenchError: they do not, so that a comparison of their times would say nothing.
    """
    mine, other = trained_tensors(ours), trained_tensors(plain)
    if not _equal(mine, other):
        raise FedbenchError("The two sides do not train the same tensors: mend the benchmark.")
    losses = first_losses(ours, plain, batches)
    if abs(losses[0] - losses[1]) > AGREEMENT * abs(losses[1]):
        raise FedbenchError(
            f"The first losses of the two sides differ ({losses[0]:.6f} and {losses[1]:.6f}): "
            "mend the forward pass before anything is timed."
        )
    every = sum(p.numel() for p in ours.parameters())
    return {
        "first_loss_ours": losses[0],
        "first_loss_plain": losses[1],
        "parameters": every,
        "trained_parameters": count(mine),
    }


def _equal(mine: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return mine.keys() == other.keys() and all(torch.equal(mine[n], other[n]) for n in mine)
