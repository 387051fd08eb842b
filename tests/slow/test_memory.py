"""What a plan says of memory, held against a training process of 200 million parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fedbench.config import RunConfig
from fedbench.report import needs
from fedbench.report.shapes import shape_of
from fedbench.resolving import resolve
from tests.toys import make_backbone, make_tokenizer

pytestmark = pytest.mark.slow

TOKENS, BATCH = 64, 8
#: Blocks of a megabyte and more go back to the system when they are freed: else the peak is also
#: that of the heap's gaps, which differ by a quarter from one processor to another.
NO_HOARD = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
#: Trains two steps in a process of its own; prints the bytes above an interpreter that did the same
#: with a tiny backbone, so that it has imported everything.
TRAINING = """
import json, sys
import torch
from fedbench.config import RunConfig
from fedbench.energy.memory import peak_bytes, reset_peak
from fedbench.models.attached import attached
from fedbench.tokens import Answered
from fedbench.train import LocalObjective, train
torch.set_num_threads(1)
config = RunConfig.model_validate_json(sys.argv[1])
tokens, batch = map(int, sys.argv[3:])

def two_steps(config, batch):
    with attached(config) as model:
        steps = [[Answered(tuple(range(n, n + tokens)), tokens - 4) for n in range(batch)]] * 2
        train(model, steps, config, (0, 1), LocalObjective())

two_steps(config.model_copy(update={"backbone": sys.argv[2]}), 1)
reset_peak()
before = peak_bytes("cpu")
two_steps(config, batch)
print(json.dumps(peak_bytes("cpu") - before))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder, tokenizer = tmp_path_factory.mktemp("large"), make_tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=16,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_the_predicted_peak_is_within_fifteen_percent(large, tiny, method, checkpointing):
    config = resolve(
        RunConfig(
            task="lookalike_fpb",
            backbone=str(large),
            method=method,
            checkpointing=checkpointing,
            batch_size=BATCH,
        )
    )
    facts = needs.Facts(8, 0, 0, TOKENS, TOKENS, TOKENS, "made here")
    predicted = needs.tensors(config, facts, shape_of(str(large)))
    assert measured(config, tiny) == pytest.approx(predicted, rel=0.15)


def test_offloaded_blocks_take_less_memory_where_they_are_computed_again(large, tiny):
    kept, away = (
        measured(
            resolve(
                RunConfig(
                    task="lookalike_fpb",
                    backbone=str(large),
                    checkpointing=True,
                    placement=placement,
                    batch_size=BATCH,
                )
            ),
            tiny,
        )
        for placement in ("whole", "offloaded")
    )
    assert away < kept


def measured(config, tiny):
    arguments = [config.model_dump_json(), str(tiny), str(TOKENS), str(BATCH)]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | NO_HOARD,
    )
    return json.loads(done.stdout.splitlines()[-1])
