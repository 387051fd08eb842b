"""A trained adapter as a standard peft folder that needs nothing of ours to be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from fedbench.errors import FedbenchError
from fedbench.files import appearing
from fedbench.models.attached import attached, tokenizer_of
from fedbench.models.tensors import load_tensors
from fedbench.store import KEPT, Run


def export(run: Run, folder: Path, adapter: str = "global") -> None:
    """Write ``adapter`` of ``run`` with ``save_pretrained``, tokenizer included.

    ``peft.PeftModel.from_pretrained(backbone, folder)`` loads it; a ``full`` run is a complete
    model for ``AutoModelForCausalLM.from_pretrained(folder)``.

    Raises:
        FedbenchError: the run has no such adapter, or ``folder`` is not empty or cannot be
            written; then nothing is there.
    """
    if adapter not in run.adapters:
        has = ", ".join(run.adapters)
        remedy = f"name one with --adapter: {has}." if has else KEPT
        raise FedbenchError(f"Run {run.id} has no adapter {adapter!r}: {remedy}")
    if folder.is_dir() and any(folder.iterdir()):
        raise FedbenchError(f"{folder} is not empty: name a new folder.")
    with appearing(folder) as draft, attached(run.config) as model:
        exported: Any = model
        load_tensors(exported, load_file(run.adapters[adapter]))
        for described in getattr(exported, "peft_config", {}).values():
            # peft would write the folder of this machine.
            described.base_model_name_or_path = run.config.backbone
        exported.save_pretrained(draft)
        tokenizer_of(run.config.backbone).save_pretrained(draft)
