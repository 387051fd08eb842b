"""From a checkpoint to a backbone folder that anyone can load."""

from pathlib import Path

import torch
from safetensors.torch import save

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_bytes, write_plain_json
from fedbench.manifests import write_manifest
from fedbench.models.backbones import meant
from fedbench.pretraining.card import measure, model_card
from fedbench.pretraining.prepare import RECORD, TOKENIZER, corpus_identity, load_tokens
from fedbench.pretraining.pretrain import Run, open_run
from fedbench.pretraining.recipes import RECIPES, model_config
from fedbench.pretraining.tokenizer import save_tokenizer


def open_backbone(name: str, work: Path) -> Run:
    """Open the run of a built-in backbone over the prepared corpus."""
    if name not in RECIPES:
        raise FedbenchError(f"There is no backbone {name!r}; choose from {list(RECIPES)}.")
    recipe = RECIPES[name]
    identity = f"{recipe} {corpus_identity(work)}"
    return open_run(recipe, load_tokens(work), identity, work / "runs" / name)


def export_backbone(name: str, work: Path, target: Path) -> None:
    """Write weights, configuration, tokenizer, corpus record and model card."""
    run = open_backbone(name, work)
    if run.progress.step == 0:
        raise FedbenchError(f"The backbone {name} has no checkpoint to export yet.")
    write_bytes(target / "model.safetensors", half_weights(run))
    _write_config(run, target)
    save_tokenizer((work / TOKENIZER).read_text(encoding="utf-8"), target)
    write_bytes(target / RECORD, (work / RECORD).read_bytes())
    measured = measure(run)
    write_plain_json(target / "training.json", measured)
    write_bytes(target / "README.md", model_card(measured, read_json(work / RECORD)).encode())
    write_manifest(target, (path.name for path in meant(target)))


def half_weights(run: Run) -> bytes:
    """Return the weights as float16; the tied output matrix is stored once."""
    halves = {n: p.detach().to(torch.float16) for n, p in run.model.named_parameters()}
    return save(halves, metadata={"format": "pt"})


def _write_config(run: Run, target: Path) -> None:
    config = model_config(run.recipe).to_dict()
    architecture = type(run.model).__name__
    write_plain_json(
        target / "config.json", config | {"dtype": "float16", "architectures": [architecture]}
    )
    ends = {"eos_token_id": 0, "pad_token_id": 1}
    write_plain_json(target / "generation_config.json", ends)
