"""Privacy of an example within its site: DP-SGD (Abadi et al., arXiv:1607.00133, algorithm 1).

The gradient of every example is computed by itself, clipped over all trained tensors together,
added up, noised, and divided by the expected size of a batch. One that is not finite counts for
nothing, and nobody but this machine is told. Batches are Poisson samples: every example is in a
batch with the same probability, independently, and a batch may be empty; noise is added all the
same. One backward pass per example works for whatever is trained; opacus has no hook for IA3's
vectors or for the written-out gradient of LoRA (:mod:`fedbench.forward.projection`), and would
leave them out without a word.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence, Set

import torch
from torch import nn

from fedbench.errors import FedbenchError
from fedbench.privacy.clipping import clipped, norm
from fedbench.privacy.noise import Source, noised
from fedbench.streams import Uniform, uniform
from fedbench.tokens import Answered
from fedbench.train import Accumulated, Gradient

_LOG = logging.getLogger("fedbench")
#: To refuse such a turn would tell of an example, by no noise protected: whoever asks can choose an
#: adapter under which only what they look for has no finite gradient.
_LOST = (
    "The gradients of %d examples are not finite and count for nothing in this step: lower the "
    "learning rate."
)


def private(
    by_batch: Gradient,
    clip: float,
    noise: float,
    expected: float,
    source: Source,
    frozen: Set[str] = frozenset(),
) -> Gradient:
    """The clipped, noised gradient of a batch of ``expected`` examples.

    An example's loss is the mean over its own answer tokens.

    Args:
        by_batch: accumulates the gradient of a batch's mean loss; given one example at a time.
        clip: greatest norm of an example's gradient.
        noise: standard deviation of the noise in units of ``clip``.
        expected: size of a batch on average.
        source: of the noise.
        frozen: names of parameters that stay as they are, whose gradients do not count.
    """

    def gradient(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
        trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in frozen
        }
        total = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
        losses, flops, lost = torch.zeros(()), 0, 0
        for sequence in sequences:
            loss, work, _ = by_batch(model, [sequence])
            own = {name: _taken(name, parameter) for name, parameter in trained.items()}
            finite = math.isfinite(norm(own))
            for name, tensor in clipped(own, clip).items() if finite else ():
                total[name].add_(tensor)
            lost += not finite
            losses, flops = losses + loss.cpu(), flops + work
        if lost:
            _LOG.warning(_LOST, lost)
        for name, tensor in noised(total, noise * clip, source).items():
            trained[name].grad = tensor / expected
        return Accumulated(losses / max(len(sequences), 1), flops)

    return gradient


def _taken(name: str, parameter: nn.Parameter) -> torch.Tensor:
    """The gradient of one example, which is taken off the parameter.

    Raises:
        FedbenchError: there is none.
    """
    found, parameter.grad = parameter.grad, None
    if found is None:
        raise FedbenchError(f"{name} has no gradient of one example, and would learn unprotected.")
    return found


def poisson_batches(
    count: int,
    rate: float,
    steps: int,
    *key: int | str,
    sample: Callable[..., Uniform] = uniform,
) -> list[list[int]]:
    """Indices of the examples of each of ``steps`` batches, drawn independently with ``rate``.

    ``sample`` says where the stream ``private-batches`` at ``key`` comes from.
    """
    random = sample("private-batches", *key)
    return [torch.from_numpy(random(count) < rate).nonzero().flatten().tolist()
            for _ in range(steps)]  # fmt: skip
