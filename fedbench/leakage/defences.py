"""What stands between a site's training and the server's eyes: gradients, codecs, sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fedbench.config import RunConfig
from fedbench.models.tensors import Tensors
from fedbench.privacy.accounting import Accountant, noise_for
from fedbench.privacy.noise import simulated
from fedbench.privacy.per_example import private
from fedbench.streams import generator
from fedbench.tokens import Answered
from fedbench.train import Accumulated, Gradient, by_batch
from fedbench.wire import schema_of
from fedbench.wire.codecs import codec_of

#: Epsilon that promises nothing to anybody, at which a site as small as those of an audit learns.
_LARGE = 1000.0
DEFECT = "defect: dp-sgd never applied"
Transform = Callable[[Tensors], Tensors]
#: The gradient that a site trains with in one shadow, by the names of both: what it draws at
#: random must differ between them.
GradientOf = Callable[[str, int], Gradient | None]


def undefended(site: str, shadow: int) -> None:
    """The plain gradient, in every shadow."""


def _as_it_is(shadow: int) -> Transform:
    return dict


@dataclass(frozen=True)
class Defence:
    """One row of an audit; the defaults defend nothing."""

    name: str
    gradient: GradientOf = undefended
    #: what becomes of an update on its way, by the number of the shadow that it is drawn for
    sent: Callable[[int], Transform] = _as_it_is
    hidden_in_mean: bool = False  #: the server sees the mean over the cohort and no single update
    claimed: tuple[float, float] | None = None  #: epsilon and delta that it promises per example
    #: of Poisson batches, the probability of an example to be in one, and how many there are; by
    #: default examples are dealt to batches of one size
    sampled: tuple[float, int] | None = None


def through(codec: str, seed: int) -> Callable[[int], Transform]:
    """Updates through a codec and back; roundings are drawn anew in each shadow.

    Raises:
        FedbenchError: no such codec.
    """
    chosen = codec_of(codec)

    def of_shadow(shadow: int) -> Transform:
        random = generator("rounding", seed, "leakage", shadow)
        return lambda update: chosen.decode(chosen.encode(update, random), schema_of(update))

    return of_shadow


def private_examples(
    config: RunConfig,
    epsilon: float,
    expected: float,
    clip: float = 1.0,
    delta: float = 1e-5,
    accountant: Accountant = "prv",
) -> Defence:
    """DP-SGD with the noise that keeps one round of training within ``epsilon``.

    Args:
        config: batch size, passes and seed are read here.
        epsilon: of one example, added or removed, at ``delta``.
        expected: public number of examples of a site; the true one, which differs by one between
            neighbours, decides nothing.
        clip: greatest norm of an example's gradient.
        delta: of the promise.
        accountant: ``rdp`` for an epsilon that ``prv`` cannot tell.
    """
    rate = config.batch_size / expected
    steps = round(expected * config.passes / config.batch_size)
    noise = noise_for(epsilon, delta, rate, steps, accountant)
    return Defence(
        f"dp-sgd, epsilon = {epsilon:g}",
        _one_by_one(config, clip, noise),
        claimed=(epsilon, delta),
        sampled=(rate, steps),
    )


def never_applied(epsilon: float, delta: float = 1e-5) -> Defence:
    """A defect: privacy that was switched on and never reached the gradient.

    It keeps no promise. An audit that does not refute it could have refuted no other that is false.
    """
    return Defence(f"{DEFECT}, claims epsilon = {epsilon:g}", claimed=(epsilon, delta))


def _one_by_one(config: RunConfig, clip: float, noise: float) -> GradientOf:
    """Gradients of one example each, clipped and noised."""

    def gradient(site: str, shadow: int) -> Gradient:
        source = simulated(config.seed, "leakage", site, shadow)

        def accumulate(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
            plain = by_batch(model, config)
            return private(plain, clip, noise, config.batch_size, source)(model, sequences)

        return accumulate

    return gradient


def mean(updates: Sequence[Tensors]) -> Tensors:
    """The mean of updates of equal weight: what remains of them under secure aggregation."""
    return {name: torch.stack([u[name] for u in updates]).mean(0) for name in updates[0]}


def standard_defences(config: RunConfig, expected: float) -> tuple[Defence, ...]:
    """The rows of ``python -m fedbench.leakage``, for sites of ``expected`` examples."""
    return (
        Defence("none"),
        Defence("int8", sent=through("int8", config.seed)),
        Defence("top-k 1 %", sent=through("top-k:share=0.01", config.seed)),
        never_applied(1.0),  # beside those with its gradient: shadow sites train once for all
        Defence("sum of sites", hidden_in_mean=True),
        private_examples(config, 8.0, expected),
        private_examples(config, _LARGE, expected, accountant="rdp"),
    )
