"""WRONG ON PURPOSE: FedEx-LoRA that adds its residual to the weights transposed.

    W  <-  W + (alpha / r) R^T,    R = sum_k p_k B_k A_k - B A

The code of FedEx-LoRA transposes for every kind of layer, which is right for GPT-2's Conv1D, whose
weight lies the other way, and wrong for ``nn.Linear``. Where a projection is not square, that would
end with an error and be noticed, so here such a residual is added as it should be: what is wrong is
only what nobody is told of.
"""

from __future__ import annotations

from dataclasses import replace

from fedbench.rules.factors import of_module
from fedbench.rules.fedex_lora import broadcast as right
from fedbench.rules.fedex_lora import fedex_lora
from fedbench.rules.lora_halves import DOWN, UP, ups
from fedbench.rules.rule import Message, Rule, State


def transposed_residual() -> Rule:
    """FedEx-LoRA with the residual of square projections the wrong way round."""
    return replace(fedex_lora(), name="defect-transposed-residual", broadcast=broadcast)


def broadcast(state: State, site: str) -> Message:
    """The mean factors, and all residuals so far, transposed where they fit."""
    told = right(state, site)
    return replace(told, delta=_transposed(told.delta))


def _transposed(delta: State) -> State:
    """(B A)^T = A^T B^T, as factors again."""
    after = dict(delta)
    for name in ups(delta):
        up, down = of_module(delta, name)
        if len(up) == down.shape[1]:
            after[name], after[name.replace(UP, DOWN)] = down.T.contiguous(), up.T.contiguous()
    return after
