"""Logits where they are needed: the one door between token ids and a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedbench.forward.batch import Batch, collate, collate_branches
from fedbench.forward.decoder import additive, follows, hidden_states
from fedbench.forward.flops import flop_counter
from fedbench.models.placement import is_whole

__all__ = [
    "Batch",
    "collate",
    "collate_branches",
    "describe",
    "flop_counter",
    "supervised_logits",
    "takes_branches",
]


def supervised_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in fp32 that predict the batch's targets, shape (supervised, vocabulary)."""
    width = batch.input_ids.shape[1]
    causal = _bare(model)
    if _is_ours(causal, width):
        logits: Tensor = causal.lm_head(hidden_states(causal.model, batch))
    else:
        visible = batch.visible
        kept, column = (batch.asked % width).unique(return_inverse=True)
        if not is_whole(causal):
            kept = kept.cpu()  # the last hidden states may lie on another device than the tokens
        output = causal(
            input_ids=batch.input_ids,
            attention_mask=None if visible is None else additive(visible, causal.dtype),
            position_ids=batch.positions,
            logits_to_keep=kept,
            use_cache=False,
        )
        logits = output.logits[batch.asked // width, column]
    if batch.where is not None:
        logits = logits[batch.where]
    return logits if logits.dtype == torch.float64 else logits.float()


def takes_branches(model: Any, tokens: int) -> bool:
    """Whether choices may stand side by side in a row of ``tokens``.

    A model that looks back over a window only would have to be told so by the mask that keeps the
    choices apart, for some of its layers and not for others.
    """
    window = getattr(_bare(model).config, "sliding_window", None)
    return window is None or tokens <= window


def describe(model: Any, width: int, *, share: bool) -> dict[str, str]:
    """How a model is computed, for a run's record; ``share`` as in :func:`collate`."""
    own = _is_ours(_bare(model), width)
    return {
        "blocks": "fedbench" if own else "transformers",
        "prefix": "once per batch" if own and share else "in every sequence",
    }


def _is_ours(causal: Any, width: int) -> bool:
    """Whether its blocks are computed here; weights are only moved by calling its own modules."""
    return follows(causal.config, width) and is_whole(causal)


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
