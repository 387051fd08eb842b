"""Which tokens did a batch hold? Gradient inversion by the span check.

Petrov et al. (DAGER, arXiv:2405.15586, section 4): the gradient of a projection's weight is a sum
over positions of outer products with its input, so its rows lie in the span of the inputs. Before
the first attention an input is the first norm of a token's embedding, whatever stands around it, so
that each token of the vocabulary can be tried by itself. The query projection tells nothing of a
first position, which attends to nothing else; keys and values, which read the same inputs, do.

Under LoRA the gradient of A is B^T times the same sum: nothing while B is zero, in the very first
step, and at most r dimensions for each projection later. In that first step the gradient of B tells
in its place: its rows lie in the span of A times the inputs, which excludes tokens as long as a
batch reads fewer than r different ones. IA3 has no matrix whose gradient spans
inputs, only one number per output, so that nothing can be tried in this way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedbench.errors import FedbenchError
from fedbench.tokens import Answered

#: Share of the greatest singular value below which a direction is taken for rounding.
TOLERANCE = 1e-5
#: Distance from the span, of unit vectors, below which a token is taken to be in the batch.
THRESHOLD = 0.05

#: Ends of the names of a first block's gradients, by method, for one projection.
_SUFFIXES: Mapping[str, Callable[[str], str]] = {
    "full": lambda projection: f"layers.0.self_attn.{projection}.weight",
    "lora": lambda projection: f"layers.0.self_attn.{projection}.lora_A.default.weight",
}


@dataclass(frozen=True)
class Overlap:
    """A guessed set of tokens against the true one."""

    guessed: float  #: tokens, a mean where several batches are told together
    precision: float  #: 0 where nothing was guessed
    recall: float


def invertible(method: str) -> bool:
    """Whether the method trains matrices whose gradients span what tokens are read as."""
    return method in _SUFFIXES


def gradient_of_step(update: Mapping[str, Tensor], rate: float) -> dict[str, Tensor]:
    """The gradient behind the update of one step of plain SGD: update / -rate.

    Clipping scales it, which changes no span.
    """
    return {name: tensor / -rate for name, tensor in update.items()}


def first_gradients(
    gradient: Mapping[str, Tensor], method: str, projections: Sequence[str]
) -> Tensor:
    """Gradients of the first block's matrices that read the first norm, stacked.

    Args:
        gradient: of all trained tensors, by name.
        method: ``full`` or ``lora``.
        projections: names of the projections, such as ``q_proj``.

    Returns:
        Shape (rows of all projections together, width of the model), in fp64.

    Raises:
        FedbenchError: the method trains no matrix that reads tokens.
    """
    if not invertible(method):
        raise FedbenchError(
            f"The span check cannot be used on {method}: it trains no matrix that reads the first "
            f"block's input. Use one of {', '.join(_SUFFIXES)}."
        )
    suffixes = tuple(_SUFFIXES[method](projection) for projection in projections)
    chosen = [gradient[name] for name in sorted(gradient) if name.endswith(suffixes)]
    return torch.cat(chosen).double()


def first_factors(
    gradient: Mapping[str, Tensor], start: Mapping[str, Tensor], projections: Sequence[str]
) -> list[tuple[Tensor, Tensor]]:
    """Gradients of LoRA's B in the first block, each with the A that stands before it.

    Args:
        gradient: of all trained tensors, by name.
        start: the adapter before the step, which the server had sent.
        projections: names of the projections. A query's B tells nothing of a first position, so
            that with ``q_proj`` among them first tokens are excluded.

    Returns:
        Pairs of shapes (outputs, r) and (r, width), in fp64.
    """
    ends = tuple(f"layers.0.self_attn.{name}.lora_B.default.weight" for name in projections)
    names = [name for name in sorted(gradient) if name.endswith(ends)]
    return [
        (gradient[name].double(), start[name.replace("lora_B", "lora_A")].double())
        for name in names
    ]


def distances_through(
    factors: Sequence[tuple[Tensor, Tensor]], inputs: Tensor, tolerance: float
) -> Tensor:
    """Distance of every token from the spans that :func:`first_factors` tell, in [0, 1].

    A token of the batch lies in the span of every projection, so the greatest distance counts.
    Arguments and result are those of :func:`distances`.
    """
    found = [
        distances(rows, normalize(inputs @ reads.T, dim=1), tolerance) for rows, reads in factors
    ]
    greatest: Tensor = torch.stack(found).amax(dim=0)
    return greatest


@torch.no_grad()
def first_inputs(model: Any) -> Tensor:
    """What the first projections read of every token, as unit vectors.

    Shape (vocabulary, width), in fp64, under the weights that the model has: those that a server
    sent.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    read: Tensor = bare.model.layers[0].input_layernorm(bare.model.embed_tokens.weight).detach()
    exact = read.double().cpu()
    units: Tensor = exact / exact.norm(dim=1, keepdim=True)
    return units


def distances(gradients: Tensor, inputs: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Distance of every token's input from the row span of ``gradients``, in [0, 1].

    Args:
        gradients: shape (rows, width).
        inputs: unit vectors, shape (vocabulary, width).
        tolerance: see :data:`TOLERANCE`.

    Returns:
        Shape (vocabulary,); 1 everywhere where the gradient is zero or not finite.
    """
    if not gradients.isfinite().all():
        return torch.ones(len(inputs), dtype=inputs.dtype)
    _, sizes, directions = torch.linalg.svd(gradients, full_matrices=False)
    basis = directions[(sizes > tolerance * sizes[0]) & (sizes > 0)]
    rest: Tensor = inputs - inputs @ basis.T @ basis
    distance: Tensor = rest.norm(dim=1)
    return distance


def in_span(distance: Tensor, threshold: float = THRESHOLD) -> set[int]:
    """Tokens that the span check takes to be in the batch."""
    return set(torch.nonzero(distance < threshold).flatten().tolist())


def nearest(distance: Tensor, count: int) -> set[int]:
    """The ``count`` tokens nearest to the span: for an attacker who knows how many there are."""
    return set(distance.argsort(stable=True)[:count].tolist())


def most_frequent(sequences: Iterable[Answered], count: int) -> set[int]:
    """The baseline: the ``count`` commonest tokens of other texts of the same task."""
    seen = Counter(token for sequence in sequences for token in sequence.tokens[:-1])
    return {token for token, _ in seen.most_common(count)}


def tokens_read(sequences: Iterable[Answered]) -> set[int]:
    """The truth: tokens that a batch reads. Its sequences' last ones are only asked for."""
    return {token for sequence in sequences for token in sequence.tokens[:-1]}


def overlap(guessed: set[int], truth: set[int]) -> Overlap:
    """Precision and recall of a guessed set."""
    right = len(guessed & truth)
    return Overlap(len(guessed), right / max(len(guessed), 1), right / len(truth))
