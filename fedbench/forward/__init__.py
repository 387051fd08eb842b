"""Logits where they are needed: the one door between token ids and a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedbench.forward.asked import follows, hidden_states
from fedbench.forward.batch import Batch, collate, collate_branches
from fedbench.forward.flops import flop_counter

__all__ = ["Batch", "collate", "collate_branches", "flop_counter", "supervised_logits"]


def supervised_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in fp32 at the batch's supervised positions, shape (supervised, vocabulary).

    Where several targets are asked of one position, its logits are computed once.
    """
    width = batch.input_ids.shape[1]
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    mask = _additive(batch.visible, causal.dtype)
    if follows(causal.config, width):
        asked, where = (batch.rows * width + batch.columns).unique(return_inverse=True)
        hidden = hidden_states(causal.model, batch.input_ids, mask, batch.positions, asked)
        logits: Tensor = causal.lm_head(hidden)[where]
    else:
        kept, where = batch.columns.unique(return_inverse=True)
        output = causal(
            input_ids=batch.input_ids,
            attention_mask=mask,
            position_ids=batch.positions,
            logits_to_keep=kept,
            use_cache=False,
        )
        logits = output.logits[batch.rows, where]
    return logits if logits.dtype == torch.float64 else logits.float()


def _additive(visible: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What to add to attention scores so that only what is visible counts."""
    if visible is None:
        return None
    mask = torch.zeros_like(visible, dtype=dtype)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]
