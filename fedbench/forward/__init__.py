"""Logits where they are needed: the one door between token ids and a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedbench.forward.batch import Batch, collate, collate_branches
from fedbench.forward.decoder import additive, follows, hidden_states
from fedbench.forward.flops import flop_counter

__all__ = ["Batch", "collate", "collate_branches", "flop_counter", "supervised_logits"]


def supervised_logits(model: Any, batch: Batch) -> Tensor:
    """Logits in fp32 at the batch's supervised positions, shape (supervised, vocabulary).

    Where several targets are asked of one position, its logits are computed once.
    """
    width = batch.input_ids.shape[1]
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if follows(causal.config, width):
        asked, where = (batch.rows * width + batch.columns).unique(return_inverse=True)
        logits: Tensor = causal.lm_head(hidden_states(causal.model, batch, asked))[where]
    else:
        visible = batch.visible
        kept, where = batch.columns.unique(return_inverse=True)
        output = causal(
            input_ids=batch.input_ids,
            attention_mask=None if visible is None else additive(visible, causal.dtype),
            position_ids=batch.positions,
            logits_to_keep=kept,
            use_cache=False,
        )
        logits = output.logits[batch.rows, where]
    return logits if logits.dtype == torch.float64 else logits.float()
