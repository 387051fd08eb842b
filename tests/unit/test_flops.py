"""Counted operations are those that torch's own counter sees in a step."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from fedbench.config import RunConfig
from fedbench.forward import collate, flop_counter, supervised_logits
from fedbench.models.attached import attached
from fedbench.resolving import resolve
from tests.unit.test_forward import STARTS, TOKENS

ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
#: torch's counter knows the attention of GPUs only; that of CPUs multiplies the same.
FORMULAS = {
    ATTENTION: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    BACKWARD: lambda g, q, k, v, *_, **__: sdpa_backward_flop_count(g, q, k, v),
    # Nor does it know the product that is accumulated in place.
    torch.ops.aten.addmm_: lambda _, a, b, *__, **___: 2 * a[0] * a[1] * b[1],
}
#: The first two tokens are those of every sequence, and computed once.
ALIKE = [(5, 9, *tokens) for tokens in TOKENS], [start + 2 for start in STARTS]


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral", "gemma"])
@pytest.mark.parametrize("method", ["lora", "ia3", "full"])
@pytest.mark.parametrize("sequences", [(TOKENS, STARTS), ALIKE], ids=["apart", "alike"])
def test_a_step_is_counted_as_torch_counts_it(backbones, name, method, sequences):
    config = resolve(RunConfig(task="toy", backbone=str(backbones(name)), method=method))
    batch = collate(*sequences, "cpu")
    with attached(config) as model:
        model.train()
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            cross_entropy(supervised_logits(model, batch), batch.targets).backward()
        found = flop_counter(model)(batch)
    assert found == counter.get_total_flops()


def test_quantised_layers_count_like_plain_ones(backbones):
    counted = []
    for compute in ("nf4", "nf4-dequantised"):
        given = {"backbone": str(backbones("llama")), "method": "qlora", "compute": compute}
        with attached(resolve(RunConfig(task="toy", **given))) as model:
            counted.append(flop_counter(model)(collate(TOKENS, STARTS, "cpu")))
    assert counted[0] == counted[1] > 0


def test_twice_the_sequences_cost_twice(backbones):
    config = resolve(RunConfig(task="toy", backbone=str(backbones("llama"))))
    with attached(config) as model:
        once = flop_counter(model)(collate(TOKENS, STARTS, "cpu"))
        twice = flop_counter(model)(collate(TOKENS * 2, STARTS * 2, "cpu"))
    assert twice == 2 * once


def test_counting_changes_no_number(backbones):
    config = resolve(RunConfig(task="toy", backbone=str(backbones("llama"))))
    with attached(config) as model:
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        flop_counter(model)(collate(TOKENS, STARTS, "cpu"))
        assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
