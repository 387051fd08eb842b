"""Floating point operations of a training step, from the shapes that are really multiplied.

A product of (n, i) by (i, o) is 2 n i o operations; backwards it comes again for the gradient of
its input where anything below is trained, and once more for that of its weight if that is trained.
Attention is two products forwards and five backwards, as torch's own counter has it. Element-wise
work is left out, as everywhere in the literature (arXiv:2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from fedbench.forward.batch import Batch
from fedbench.forward.decoder import follows

_ATTENTION = 4 + 10  #: per head dimension and pair of positions: forwards, and backwards


def flop_counter(model: Any) -> Callable[[Batch], int]:
    """A function that counts one forward and backward pass over a batch, padding included."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = causal.config
    products = _products(causal)
    per_pair = config.num_hidden_layers * _width(config) * _ATTENTION

    def count(batch: Batch) -> int:
        """Operations of one step over ``batch``."""
        sequences, tokens = batch.input_ids.shape
        shared, asked, late = batch.shared, len(batch.asked), _late(config)
        if not follows(config, tokens):
            columns = (batch.asked % tokens).unique()
            shared, asked, late = 0, sequences * len(columns), ("lm_head",)
        own = sequences * (tokens - shared)
        flops: int = (shared**2 + own * tokens) * per_pair
        for name, per_row in products.items():
            rows = asked if any(part in name for part in late) else shared + own
            flops += rows * per_row
        return flops

    return count


def _products(causal: Any) -> dict[str, int]:
    """Operations per row of every linear layer, forwards and backwards, by the layer's name."""
    learns_below = any(p.requires_grad for p in causal.get_input_embeddings().parameters())
    found = {}
    for name, layer in causal.named_modules():
        if isinstance(layer, nn.Linear):
            times = 1 + (learns_below or not _first(name)) + layer.weight.requires_grad
            found[name] = 2 * layer.in_features * layer.out_features * times
    return found


def _late(config: Any) -> tuple[str, ...]:
    """Names of what runs after the last attention."""
    last = f"layers.{config.num_hidden_layers - 1}"
    return "lm_head", f"{last}.self_attn.o_proj", f"{last}.mlp"


def _first(name: str) -> bool:
    """Whether a layer reads the embeddings themselves, below which nothing may be trained."""
    # Phi's feed-forward part stands beside its attention, not after it.
    reads = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")
    return "lora_B" not in name and any(f"layers.0.{part}" in name for part in reads)


def _width(config: Any) -> int:
    heads: int = config.num_attention_heads
    return heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)
