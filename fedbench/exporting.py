"""A trained adapter as a standard peft folder that needs nothing of ours to be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from fedbench.card import card
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.files import appearing
from fedbench.models.attached import attached, tokenizer_of
from fedbench.models.deltas import side_by_side
from fedbench.models.lora_names import DOWN
from fedbench.models.tensors import Tensors, load_tensors
from fedbench.store import KEPT, Run


def export(run: Run, folder: Path, adapter: str = "global") -> None:
    """Write ``adapter`` of ``run`` with ``save_pretrained``, tokenizer included.

    ``peft.PeftModel.from_pretrained(backbone, folder)`` loads it; a ``full`` run is a complete
    model for ``AutoModelForCausalLM.from_pretrained(folder)``. What a rule added to the backbone
    becomes part of the adapter, as further ranks. README.md says what it is.

    Raises:
        FedbenchError: the run has no such adapter, or ``folder`` is not empty or cannot be
            written; then nothing is there.
    """
    if adapter not in run.adapters:
        has = ", ".join(run.adapters)
        remedy = f"name one with --adapter: {has}." if has else KEPT
        raise FedbenchError(f"Run {run.id} has no adapter {adapter!r}: {remedy}")
    tensors = load_file(run.adapters[adapter])
    delta = load_file(run.deltas[adapter]) if adapter in run.deltas else {}
    write_adapter(folder, run.config, tensors, delta, card(run, adapter))


def write_adapter(
    folder: Path, config: RunConfig, tensors: Tensors, delta: Tensors, readme: str
) -> None:
    """Write trained tensors as a folder that ``peft`` loads; nothing is there unless all is.

    Args:
        folder: a new one.
        config: method, rank, alpha and backbone are read here.
        tensors: the adapter.
        delta: what a rule added to the backbone's weights; empty under most.
        readme: what README.md says.

    Raises:
        FedbenchError: ``folder`` is not empty or cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FedbenchError(f"{folder} is not empty: name a new folder.")
    if delta:
        tensors = side_by_side(tensors, delta)
    with appearing(folder) as draft, attached(_of_rank(config, tensors)) as model:
        exported: Any = model
        load_tensors(exported, tensors)
        adapters = getattr(exported, "peft_config", {})
        for described in adapters.values():
            # peft would write the folder of this machine.
            described.base_model_name_or_path = config.backbone
            for name, value in vars(described).items():
                if isinstance(value, set):  # whose order is another in every process
                    setattr(described, name, sorted(value))
        # No method adds tokens, and peft would ask the hub for the backbone's to find that out.
        exported.save_pretrained(draft, **({"save_embedding_layers": False} if adapters else {}))
        tokenizer_of(config.backbone).save_pretrained(draft)
        # peft's own, which is replaced, is an unfilled form with the path of the backbone here.
        (draft / "README.md").write_text(readme, encoding="utf-8")


def _of_rank(config: RunConfig, tensors: Tensors) -> RunConfig:
    """The configuration with the rank of these factors of LoRA, and the scale alpha / r it had."""
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if DOWN in name}
    rank = max(ranks, default=config.rank)
    return config.model_copy(update={"rank": rank, "alpha": config.alpha * rank / config.rank})
