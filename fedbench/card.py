"""The card of an exported run: what it is, how it did, and how plain libraries load it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from fedbench.models.backbones import BUILT_IN
from fedbench.models.fresh_weights import SUFFIX
from fedbench.store import SHARED, Run

_SYNTHETIC = "**Synthetic look-alike data**, never evidence about language models."
_SHUFFLED = "**Negative control.** It was trained on shuffled labels."
_QUANTISED = (
    "In training, the backbone was quantised to NF4. Over one that is not, answers differ a little."
)
_BUILT_IN = (
    "Built-in backbones lie under `data/backbones/` of a checkout of fedbench, and under "
    "`fedbench/_data/backbones/` of an installed one: give the path from where you are."
)
_UNTRAINED = (
    "The backbone's weights were never trained. fedbench makes their folder and names it: "
    "`fedbench.models.backbones.locate(NAME)`, with the backbone's name as above."
)
_OWN = "The backbone was in a folder of its user: give the path to it."
_LICENCE = (
    "The licences of the task's data, and that of the backbone, apply to what was learnt from "
    "them: read them before passing this folder on."
)


def card(run: Run, adapter: str) -> str:
    """README.md for the exported ``adapter`` of ``run``; it holds no path of this machine."""
    title = f"# {run.metrics['task_title']}: {run.config.method}, {run.config.setting}"
    parts = [_front(run), title, *_marks(run), _facts(run, adapter)]
    return "\n\n".join([*parts, "## Loading", *_loading(run), "## Licence", _LICENCE]) + "\n"


def _front(run: Run) -> str:
    """YAML for tools; the hub knows no backbone but its own."""
    config = run.config
    fields = {
        "library_name": "transformers" if config.method == "full" else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["fedbench", config.method, config.setting],
    }
    if _kind(config.backbone) == "hub":
        fields["base_model"] = config.backbone.partition("@")[0]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"


def _marks(run: Run) -> Iterator[str]:
    """What must be said before any number."""
    if run.metrics["synthetic"]:
        yield _SYNTHETIC
    if run.config.labels == "shuffled":
        yield _SHUFFLED
    if run.metrics.get("note"):
        yield str(run.metrics["note"])


def _facts(run: Run, adapter: str) -> str:
    config, metrics = run.config, run.metrics
    one_site = adapter != SHARED
    mean = ", the mean over the adapters of all sites" if one_site else ""
    facts = {
        "Task": metrics["task_title"],
        "Method": config.method,
        "Setting": f"{config.setting}, adapter of {adapter}" if one_site else config.setting,
        "Partition": f"{config.partition.label}, number of sites: {len(run.sites)}",
        "Seed": config.seed,
        "Test accuracy": f"{metrics['accuracy']:.4f} on {metrics['n_test']:,} test items{mean}",
        "Run": f"`{run.id}`",
        "Backbone": f"`{_name(config.backbone)}`",
        "Revision of the backbone": f"`{run.provenance['backbone_revision']}`",
        "SHA-256 of the backbone": f"`{run.provenance['backbone']}`",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _loading(run: Run) -> Iterator[str]:
    """The lines that load it, and what a reader must put into them."""
    backbone, loader = run.config.backbone, "AutoModelForCausalLM"
    whole = run.config.method == "full"
    lines = [
        *([] if whole else ["from peft import PeftModel"]),
        f"from transformers import {loader}",
        "",
        f"model = {loader}.from_pretrained({'FOLDER' if whole else _argument(run)})",
        *([] if whole else ["model = PeftModel.from_pretrained(model, FOLDER)"]),
    ]
    yield "\n".join(["```python", *lines, "```"])
    yield "`FOLDER` is the path of this folder, which holds the tokenizer too."
    words = {"built-in": _BUILT_IN, "untrained": _UNTRAINED, "own": _OWN}
    if not whole and _kind(backbone) in words:
        yield words[_kind(backbone)]
    if run.config.compute != "plain":
        yield _QUANTISED


def _argument(run: Run) -> str:
    name = run.config.backbone
    if _kind(name) == "hub":
        revision = run.provenance["backbone_revision"]
        return f'"{name.partition("@")[0]}", revision="{revision}"'
    return f'"data/backbones/{name}"' if _kind(name) == "built-in" else "BACKBONE"


def _kind(backbone: str) -> str:
    """Where ``backbone`` comes from: built-in, untrained, own (a folder) or hub."""
    if backbone.endswith(SUFFIX):
        return "untrained"
    if backbone in BUILT_IN:
        return "built-in"
    return "own" if Path(backbone).is_dir() else "hub"


def _name(backbone: str) -> str:
    """What to call ``backbone`` elsewhere: of a folder, its last part."""
    bare = backbone.removesuffix(SUFFIX)
    is_folder = bare not in BUILT_IN and Path(bare).is_dir()
    return Path(backbone).name if is_folder else backbone
