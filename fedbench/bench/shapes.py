"""The work that is timed: backbones of three sizes, and token sequences of three shapes.

Lengths are those of public data under the tokenizer of the built-in backbones, measured on at
least 500 examples of each; the tokens themselves are drawn, because no arithmetic depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedbench.config import RunConfig
from fedbench.streams import generator, seed_of
from fedbench.tokens import Answered, Ids
from fedbench.train import batches_of_turn, examples_of_turn

VOCABULARY = 4096  #: of the built-in backbones
_SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95)  #: of examples that are at most so long
Batches = Sequence[Sequence[Answered]]
Held = Mapping[str, Sequence[Answered]]  #: what every site holds


@dataclass(frozen=True)
class Size:
    """A Llama, by what its parameters depend on."""

    name: str
    hidden: int
    feedforward: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Shape:
    """What a training sequence is made of, in tokens.

    ``question`` and ``answer`` are lengths at 0, 5, 25, 50, 75 and 95 % of the examples.
    """

    name: str
    prefix: int  #: instruction that every prompt begins with
    question: tuple[int, ...]
    suffix: int  #: what every prompt ends with
    answer: tuple[int, ...]  #: without the end token
    longest: int = 128  #: a longer sequence is cut at its end


@dataclass(frozen=True)
class Work:
    """How much of it: what one site does in a round, and how many sites there are."""

    sites: int = 8
    cohort: int = 4
    steps: int = 10  #: of one site in a round
    batch_size: int = 8


@dataclass(frozen=True)
class Timed:
    """One measurement of steps or of rounds."""

    size: Size
    shape: Shape
    work: Work


@dataclass(frozen=True)
class Alone:
    """One process: who, on what, for how many rounds.

    Every site takes part in every round, because Flower would draw other cohorts.
    """

    who: str
    size: Size
    shape: Shape
    work: Work
    rounds: int


SIZES: Mapping[str, Size] = {
    size.name: size
    for size in (
        Size("2M", 160, 432, 4, 5),
        Size("7M", 256, 640, 8, 8),
        Size("30M", 512, 1376, 9, 8),
    )
}
SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        # The prompt of FlowerTune's finance challenge, sentences of FPB; a label is one token.
        Shape("one-word answers", 63, (7, 19, 30, 41, 57, 88), 6, (1, 1, 1, 1, 1, 1)),
        # The same template with Medical Meadow's one instruction, its questions and answers.
        Shape("long answers", 48, (8, 14, 19, 24, 28, 34), 6, (10, 23, 53, 110, 218, 512)),
        # This project's own prompt of MedMCQA: "Question:", no instruction, the choice in words.
        Shape("multiple choice", 2, (9, 14, 19, 24, 34, 74), 2, (1, 3, 5, 7, 11, 18)),
    )
}


def config_of(
    work: Work, *, rounds: int = 1, backbone: str = "", dropout: float = 0.0
) -> RunConfig:
    """The run that the work stands for: LoRA of rank 8 beside every projection, a constant rate.

    Every site is trained on once per participation, so ``passes`` follows from the rounds.
    """
    return RunConfig(
        task="benchmark",
        backbone=backbone,
        compute="plain",
        rounds=rounds,
        participation=work.cohort / work.sites,
        passes=rounds * work.cohort / work.sites,
        batch_size=work.batch_size,
        learning_rate=2e-4,
        schedule="constant",
        warmup=0.0,
        rank=8,
        alpha=16,
        dropout=dropout,
    )


def sequences(shape: Shape, count: int, *key: int | str) -> list[Answered]:
    """``count`` training sequences of a shape; the same name and key give the same ones."""
    rng = generator("benchmark", shape.name, *key)
    instruction = _ids(generator("benchmark", shape.name, "prefix"), shape.prefix)
    ending = _ids(generator("benchmark", shape.name, "suffix"), shape.suffix)
    return [_sequence(shape, rng, instruction, ending) for _ in range(count)]


def site_names(work: Work) -> list[str]:
    """Names of all sites, in their order."""
    return [f"site{number:02d}" for number in range(work.sites)]


def holdings(shape: Shape, work: Work) -> Held:
    """What every site holds: exactly what it processes in one round."""
    count = work.steps * work.batch_size
    return {site: sequences(shape, count, site) for site in site_names(work)}


def batches_of(held: Sequence[Answered], config: RunConfig, site: str, turn: int = 0) -> Batches:
    """The batches that ``site`` makes of what it holds at its ``turn``-th participation."""
    key = (config.seed, site)
    chosen = examples_of_turn(len(held), len(held), turn, *key)
    lengths = [len(each.tokens) for each in held]
    cut = batches_of_turn(lengths, chosen, config.batch_size, *key, turn)
    return [[held[i] for i in batch] for batch in cut]


def parameters(size: Size) -> int:
    """How many parameters a backbone of this size has, within a percent."""
    block = 4 * size.hidden**2 + 3 * size.hidden * size.feedforward
    return VOCABULARY * size.hidden + size.layers * block


def make_backbone(size: Size) -> Any:
    """A frozen Llama of this size with drawn weights, in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from fedbench.seeding import seeded

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        intermediate_size=size.feedforward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        use_cache=False,
    )
    with seeded(seed_of("benchmark", size.name)):
        return LlamaForCausalLM(config).requires_grad_(False).eval()


def attach(backbone: Any, config: RunConfig) -> Any:
    """The backbone with the project's LoRA on it, for either side; its start is always the same."""
    from fedbench.models.families import family_of
    from fedbench.models.methods import METHODS
    from fedbench.seeding import seeded

    with seeded(seed_of("init", config.seed)):
        return METHODS["lora"].attach(backbone, family_of("llama"), config)


def _ids(rng: np.random.Generator, count: int) -> Ids:
    return tuple(rng.integers(2, VOCABULARY, count).tolist())


def _sequence(shape: Shape, rng: np.random.Generator, instruction: Ids, ending: Ids) -> Answered:
    asked, answered = (_length(rng, lengths) for lengths in (shape.question, shape.answer))
    room = shape.longest - 2 - len(instruction) - len(ending)
    prompt = (*instruction, *_ids(rng, min(asked, room)), *ending)
    kept = min(answered, shape.longest - 1 - len(prompt))
    return Answered((*prompt, *_ids(rng, kept), 0), len(prompt))


def _length(rng: np.random.Generator, lengths: Sequence[int]) -> int:
    """A draw from the distribution whose quantiles are known; the longest 5 % are one length."""
    return round(float(np.interp(rng.random(), _SHARES, lengths)))
