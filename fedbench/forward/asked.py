"""A decoder's hidden states at the asked positions only, for blocks of the common pre-norm kind.

After the last attention no position looks at another any more, so from there on (output
projection, feed-forward, final norm) only what is asked for is computed. The result is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: Architectures whose blocks are x + attention(norm(x)), then x + feedforward(norm(x)).
_PRE_NORM = ("llama", "mistral", "qwen2", "qwen3")


def follows(config: Any, tokens: int) -> bool:
    """Whether a model with this configuration computes what :func:`hidden_states` does."""
    window = getattr(config, "sliding_window", None)
    return config.model_type in _PRE_NORM and (window is None or tokens <= window)


def hidden_states(
    decoder: Any, ids: Tensor, mask: Tensor | None, positions: Tensor | None, asked: Tensor
) -> Tensor:
    """Normalised hidden states at ``asked``, shape (asked, width).

    Args:
        decoder: the model without its head.
        ids: (sequences, tokens).
        mask: added to attention scores, (sequences, 1, tokens, tokens); None for plain causal.
        positions: (sequences, tokens); None for 0, 1, 2, ...
        asked: indices into the flattened ids.
    """
    hidden = decoder.embed_tokens(ids)
    if positions is None:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
    given = {
        "attention_mask": mask,
        "position_ids": positions,
        "position_embeddings": decoder.rotary_emb(hidden, position_ids=positions),
    }
    *blocks, last = decoder.layers
    for block in blocks:
        hidden = block(hidden, **given)
    with _gathering(last.self_attn.o_proj, asked):
        attended, _ = last.self_attn(last.input_layernorm(hidden), **given)
    kept = hidden.flatten(0, 1)[asked] + attended
    kept = kept + last.mlp(last.post_attention_layernorm(kept))
    found: Tensor = decoder.norm(kept)
    return found


@contextmanager
def _gathering(layer: nn.Module, asked: Tensor) -> Iterator[None]:
    """Let ``layer`` see only the asked rows of its input inside the block."""

    def gather(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return inputs[0].flatten(0, 1)[asked]

    hook = layer.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()
