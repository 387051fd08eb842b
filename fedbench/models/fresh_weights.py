"""The control for pretraining: a backbone of the same shape and tokenizer that has read nothing."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from fedbench.files import appearing, on_disk
from fedbench.locks import locked
from fedbench.manifests import MANIFEST, harmed, write_manifest
from fedbench.paths import home
from fedbench.streams import seed_of

_LOG = logging.getLogger("fedbench")
#: Appended to a backbone's name: ``fedbench-llama:random``.
SUFFIX = ":random"


def untrained(source: Path, digest: str) -> Path:
    """Folder like ``source``, which has this ``digest``, with fresh weights; made once.

    If one of its files is not what was written, it is made again. The weights are one draw, the
    same wherever torch initialises alike; it is the architecture's own initialisation, as
    pretraining starts from.
    """
    folder = home() / "untrained" / f"{source.name}-{digest[:12]}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists() and (path := next(harmed(folder), None)):
            _LOG.warning("%s is not the file that was written: its folder is made again.", path)
            with on_disk(folder):
                shutil.rmtree(folder)
        if not folder.exists():
            _make(source, folder)
    return folder.resolve()


def _make(source: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from fedbench.seeding import seeded

    with appearing(folder) as draft:
        unlike = shutil.ignore_patterns("*.safetensors*")
        shutil.copytree(source, draft, ignore=unlike, dirs_exist_ok=True)
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        with seeded(seed_of("untrained", 0)):
            AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(draft)
        write_manifest(draft, [path.name for path in draft.iterdir() if path.name != MANIFEST])
