"""What a run needs, estimated from its configuration: operations, memory, disk.

Each formula stands in the docstring of its function, each assumption in :data:`ASSUMPTIONS`, which
every plan prints. Nothing here is a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.report.shapes import Shape
from fedbench.rules import is_personal
from fedbench.tasks import Example, Task, is_local, load_task

#: Bytes per weight of NF4 with double quantisation: 4 bits, and 8/64 + 32/(64 * 256) bits of
#: constants (arXiv:2305.14314, section 3).
NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
CHARACTERS_PER_TOKEN = 4
#: What the allocator holds beyond what is asked of it. A guess for a GPU; on a CPU, glibc held 1.04
#: to 1.28 times the tensors' bytes in four runs of 200 million parameters.
RESERVE = 1.15
FIXED = {"cuda": 1e9, "cpu": 0.8e9}  #: libraries and contexts, per process
ITEM = 160  #: bytes of one scored test item on disk
ANSWER = 8  #: supervised tokens of an example, for the logits

ASSUMPTIONS = (
    f"a token is {CHARACTERS_PER_TOKEN} characters; an example has the task's mean length, the "
    "longest batch its longest examples, cut at max_tokens",
    "training takes 4 operations per weight and token where the backbone is frozen (forward, and "
    "the gradient of what passes through), 6 with full; scoring takes 2; attention and embeddings "
    "are left out",
    "every adapter is scored on the whole test set with and without the question, and on the "
    "validation data after each round; the words it writes freely are left out",
    f"weights take 4 bytes in fp32, 2 in bf16, {NF4:.3f} in NF4 (projections only); adapter, "
    "gradient and the two moments of AdamW 16 bytes per trained parameter, and on a CPU 4 for the "
    "values at first",
    "activations of all layers are kept: per token and layer 8 hidden + 2 key + 4 feed-forward "
    "values, and in bf16 the fp32 copies that an adapter keeps of its inputs; with checkpointing, "
    "those of one layer with their gradients, and of every other what enters it",
    "offloaded with checkpointing, one block's weights are on the device at a time; sharded, all "
    "GPUs of the machine are counted as one",
    "15 % for what the allocator holds, and 1 GB on top of a GPU's memory; "
    f"{ITEM} bytes on disk per scored item",
)


@dataclass(frozen=True)
class Facts:
    """How much there is to read in a task."""

    train: int
    validation: int
    test: int
    tokens: float  #: of a training example
    row: float  #: of a test item with all its choices
    longest: float  #: of a training example
    source: str
    download: float = 0.0  #: bytes to fetch


#: Values kept for every trained one; pages that leave the device do not count.
MOMENTS = {"adamw": 2, "sgd": 0, "adamw-8bit": 2, "adamw-8bit-paged": 0}

_OURS = "as counted by us from the release files"
#: Tasks that are not on this machine. MedQA and MedMCQA: sizes of the official splits as their
#: papers give them, a tenth of training for validation; lengths from the released development
#: questions. FPB and FiQA-SA as our split has them. Bytes: those of the release files, rounded up.
KNOWN: Mapping[str, Facts] = {
    "medqa": Facts(9160, 1018, 1273, 198, 219, 898, "as published, arXiv:2009.13081", 2e7),
    "medmcqa": Facts(164540, 18282, 4183, 33, 48, 165, "as published, arXiv:2203.14371", 1e8),
    "fpb": Facts(3394, 488, 954, 37, 42, 84, _OURS, 1e6),
    "fiqa_sa": Facts(708, 110, 355, 27, 31, 44, _OURS, 1e6),
}


def facts_of(task: str) -> Facts | None:
    """Sizes and lengths of a task: counted where its data are on this machine, else known ones.

    None for a task whose data are elsewhere and of which nothing is known.
    """
    loaded = _loaded(task)
    if loaded is None:
        return KNOWN.get(task.partition(":")[0])
    train, test = loaded.of_split("train"), loaded.of_split("test")
    lengths = [_characters(example) / CHARACTERS_PER_TOKEN for example in train]
    rows = [len(e.prompt) + sum(map(len, e.choices)) for e in test]
    return Facts(
        len(train),
        len(loaded.of_split("validation")),
        len(test),
        tokens=sum(lengths) / len(lengths),
        row=sum(rows) / len(rows) / CHARACTERS_PER_TOKEN,
        longest=max(lengths),
        source="counted here",
    )


def _loaded(task: str) -> Task | None:
    """The task if its data are on this machine; nothing is fetched."""
    try:
        return load_task(task) if is_local(task) else None
    except FedbenchError:
        return None


def _characters(example: Example) -> int:
    return len(example.prompt) + len(example.choices[example.gold])


def adapters(config: RunConfig) -> int:
    """How many adapters the run trains and scores; an untuned backbone is scored once."""
    own = config.setting == "local" or is_personal(config)
    return config.partition.sites if own else 1


def operations(config: RunConfig, facts: Facts, shape: Shape) -> float:
    """FLOPs: weights x (4 or 6 x tokens trained on + 2 x tokens scored)."""
    train, validation, test = limited(config, facts)
    tokens = min(facts.tokens, config.max_tokens)
    row = max(min(facts.row, config.max_tokens), tokens)
    scored = adapters(config) * test * (row + row - tokens) + min(config.generated, test) * tokens
    if config.setting == "base":
        return 2 * shape.linear * scored
    scored += config.rounds * validation * row
    per_token = 6 if config.method == "full" else 4
    return shape.linear * (per_token * config.passes * train * tokens + 2 * scored)


def limited(config: RunConfig, facts: Facts) -> tuple[int, int, int]:
    """Training, validation and test examples within the limits of ``config``."""
    return (
        min(facts.train, config.train_limit or facts.train),
        min(facts.validation, config.validation_limit or facts.validation),
        min(facts.test, config.test_limit or facts.test),
    )


def memory(config: RunConfig, facts: Facts, shape: Shape) -> float:
    """Bytes that the device must have: :data:`RESERVE` x what :func:`tensors` says + fixed."""
    return RESERVE * tensors(config, facts, shape) + FIXED[config.device]


def tensors(config: RunConfig, facts: Facts, shape: Shape) -> float:
    """Bytes of all tensors at the peak: weights + adapter and optimizer + activations + logits."""
    parts = weights(config, shape) + optimizer(config, shape)
    if config.setting != "base":
        parts += activations(config, facts, shape)
        parts += config.batch_size * ANSWER * shape.vocabulary * 4 * 3
    return parts


def weights(config: RunConfig, shape: Shape) -> float:
    """Bytes of the backbone: NF4 packs the projections, the rest stays in ``dtype``.

    Offloaded, one block's projections are there at a time, unless all are kept for the gradient.
    """
    width = _width(config)
    packed = NF4 if config.compute == "nf4" else width
    passing = config.placement == "offloaded" and (config.checkpointing or config.setting == "base")
    there = shape.linear / (shape.layers if passing else 1)
    return there * packed + (shape.parameters - shape.linear) * width


def optimizer(config: RunConfig, shape: Shape) -> float:
    """Bytes of adapter, gradient and moments; with full, the weights count elsewhere.

    What is trained is also kept as it was at first, to be restored: in memory beside a GPU.
    """
    width, values = (_width(config), 1) if config.method == "full" else (4, 2)
    values += config.device == "cpu"
    narrow = "8bit" in config.optimizer
    each = values * width + MOMENTS[config.optimizer] * (1 if narrow else width)
    trained = 0 if config.setting == "base" else shape.trainable(config.method, config.rank)
    return float(each * trained)


def activations(config: RunConfig, facts: Facts, shape: Shape) -> float:
    """Bytes kept for the gradient: tokens of the longest batch x layers x values per token."""
    width, h, k, b = _width(config), shape.hidden, shape.keys, shape.between
    tokens = config.batch_size * min(facts.longest, config.max_tokens)
    # peft casts the input of each of LoRA's seven projections, and what IA3 scales, to fp32.
    copies = {"full": 0, "ia3": 2 * k + b}.get(config.method, 6 * h + b)
    per_token = width * (8 * h + 2 * k + 4 * b) + (4 * copies if width < 4 else 0)
    if config.checkpointing:
        # What enters every block, and one block while it is computed again, with its gradients.
        return tokens * (shape.layers * width * h + 2 * per_token)
    return tokens * shape.layers * per_token


def disk(config: RunConfig, facts: Facts, shape: Shape) -> float:
    """Bytes that the finished run keeps: its adapters in fp32 and its scored items."""
    kept = 0 if config.setting == "base" else adapters(config)
    trained = shape.trainable(config.method, config.rank)
    return 4.0 * kept * trained + ITEM * adapters(config) * limited(config, facts)[2]


def _width(config: RunConfig) -> int:
    return 2 if config.dtype == "bfloat16" else 4
