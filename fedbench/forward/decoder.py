"""A decoder's hidden states, computed once for what rows share and only where they are asked for.

For blocks of the common pre-norm kind: x + attention(norm(x)), then x + feedforward(norm(x)).
Tokens lie in one matrix: the prefix that all sequences begin with once, then the rest of every
sequence. Nothing looks at another token but attention, so nothing else needs to know of sequences.
After the last attention only the asked positions go on. The result is exact, gradients included,
as long as nothing random is drawn per token (so not under dropout).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from fedbench.forward.batch import Batch
from fedbench.forward.projection import project
from fedbench.forward.rotary import turned

#: Architectures whose blocks, with projections of the same names, are computed here.
_PRE_NORM = ("llama", "mistral", "qwen2", "qwen3", "gemma")


class _Rows(NamedTuple):
    """Where the tokens of a batch lie in the one matrix of all tokens."""

    shared: int  #: tokens of the common prefix, which come first
    sequences: int
    cos: Tensor  #: (tokens, 1, head width)
    sin: Tensor
    mask: Tensor | None  #: added to attention scores of what follows the prefix; None: causal


def follows(config: Any, tokens: int) -> bool:
    """Whether a model with this configuration computes what :func:`hidden_states` does."""
    window = getattr(config, "sliding_window", None)
    short = window is None or tokens <= window
    return config.model_type in _PRE_NORM and short and not config.attention_dropout


def hidden_states(decoder: Any, batch: Batch) -> Tensor:
    """Normalised hidden states at ``batch.asked``, shape (asked, width).

    Args:
        decoder: the model without its head.
        batch: what to read; the first ``batch.shared`` tokens of all its sequences are the same,
            and nothing is asked within them.
    """
    shared, width = batch.shared, batch.input_ids.shape[1]
    hidden = decoder.embed_tokens(_flat(batch.input_ids, shared))
    rows = _rows(decoder, batch, hidden)
    *blocks, last = decoder.layers
    for block in blocks:
        if block.gradient_checkpointing and block.training:
            hidden = checkpoint(_through, block, hidden, rows, use_reentrant=False)
        else:
            hidden = _through(block, hidden, rows)
    attended = _attend(last.self_attn, last.input_layernorm(hidden), rows)
    sequence, column = batch.asked // width, batch.asked % width
    kept = shared + sequence * (width - shared) + column - shared
    hidden = hidden[kept] + project(last.self_attn.o_proj, attended[kept])
    hidden = hidden + _feed(last.mlp, last.post_attention_layernorm(hidden))
    found: Tensor = decoder.norm(hidden)
    return found


def _through(block: Any, hidden: Tensor, rows: _Rows) -> Tensor:
    """What a block makes of every token."""
    attended = _attend(block.self_attn, block.input_layernorm(hidden), rows)
    hidden = hidden + project(block.self_attn.o_proj, attended)
    return hidden + _feed(block.mlp, block.post_attention_layernorm(hidden))


def _flat(table: Tensor, shared: int) -> Tensor:
    """Of a table with a row per sequence: the prefix once, then the rest of every row."""
    return torch.cat([table[0, :shared], table[:, shared:].flatten()])


def _rows(decoder: Any, batch: Batch, hidden: Tensor) -> _Rows:
    shared, (sequences, width) = batch.shared, batch.input_ids.shape
    positions = batch.positions
    if positions is None:
        positions = torch.arange(width, device=hidden.device).expand(sequences, width)
    cos, sin = decoder.rotary_emb(hidden[None], position_ids=_flat(positions, shared)[None])
    visible = batch.visible
    if visible is None and shared:
        # What follows the prefix sees it whole; torch's own causal mask would begin at its start.
        visible = torch.ones(1, width, width, dtype=torch.bool, device=hidden.device).tril()
    mask = None if visible is None else additive(visible[:, shared:], hidden.dtype)
    return _Rows(shared, sequences, cos[0, :, None], sin[0, :, None], mask)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores so that only what is visible counts, for all heads."""
    mask = torch.zeros_like(visible, dtype=dtype)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


def _attend(attention: Any, x: Tensor, rows: _Rows) -> Tensor:
    """What every token gathers from those it sees, before the output projection."""
    query, key, value = (
        project(layer, x).unflatten(-1, (-1, attention.head_dim))
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):  # Qwen3
        query, key = attention.q_norm(query), attention.k_norm(key)
    query, key = (turned(heads, rows.cos, rows.sin) for heads in (query, key))
    if (groups := attention.num_key_value_groups) > 1:
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    if not rows.shared:
        query, key, value = (_by_sequence(t, rows.sequences) for t in (query, key, value))
        return _gathered(query, key, value, rows.mask, attention.scaling)
    # Split, not sliced: the gradient of a slice is as large as what it was taken from.
    sizes = [rows.shared, len(query) - rows.shared]
    parts = [t.split(sizes) for t in (query, key, value)]
    first_q, first_k, first_v = (_by_sequence(first, 1) for first, _ in parts)
    after_q, after_k, after_v = (_by_sequence(after, rows.sequences) for _, after in parts)
    seen_k, seen_v = (
        torch.cat([before.expand(rows.sequences, -1, -1, -1), own], dim=2)
        for before, own in ((first_k, after_k), (first_v, after_v))
    )
    prefix = _gathered(first_q, first_k, first_v, None, attention.scaling)
    rest = _gathered(after_q, seen_k, seen_v, rows.mask, attention.scaling)
    return torch.cat([prefix, rest])


def _by_sequence(tokens: Tensor, sequences: int) -> Tensor:
    """Of (tokens, heads, width): (sequences, heads, tokens of each, width), as attention wants."""
    found: Tensor = tokens.unflatten(0, (sequences, -1)).transpose(1, 2)
    return found


def _gathered(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Attention over (sequences, heads, tokens, width), as rows of all heads side by side."""
    found = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return found.transpose(1, 2).flatten(0, 1).flatten(1)


def _feed(mlp: Any, x: Tensor) -> Tensor:
    gated = mlp.act_fn(project(mlp.gate_proj, x)) * project(mlp.up_proj, x)
    return project(mlp.down_proj, gated)
