"""Backbones: built-in, from a local directory, or from the Hugging Face hub.

Only safetensors are loaded and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import lru_cache, partial
from os.path import isdir
from pathlib import Path
from typing import Any

from fedbench.errors import Damaged, FedbenchError, shown
from fedbench.files import read_json
from fedbench.manifests import harmed
from fedbench.models.fresh_weights import SUFFIX, untrained
from fedbench.models.placement import PLACEMENTS
from fedbench.paths import shipped

BUILT_IN = ("fedbench-llama", "fedbench-qwen2")
_SAFE = ".safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FILES = ("*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt")
#: What a model and its tokenizer are made of: cards and notes beside them may change.
_MEANT = (
    *("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*", "*.model"),
    *("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
)
# bitsandbytes looks for an optional kernel when it is imported, whoever does that, and falls back
# to the one it ships; accelerate tells that offloaded weights are not in memory, as was asked for.
for _noisy in ("bitsandbytes.backends.cpu.ops", "accelerate.big_modeling"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)

#: One class under the names that transformers 4 and 5 store.
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")


def locate(name: str) -> Path:
    """Folder that holds the backbone: ``name`` is built-in, a directory, or ``hub/id[@revision]``.

    With ``:random`` after it, the same backbone with weights that were never trained.

    Raises:
        FedbenchError: there is no such backbone, or it cannot be used; says why and what to do.
    """
    if name.endswith(SUFFIX):
        read = name.removesuffix(SUFFIX)
        return untrained(locate(read), digest(read))
    return _located(name)


@lru_cache
def _located(name: str) -> Path:
    if name in BUILT_IN:
        return _checked(_as_shipped(shipped(f"backbones/{name}")))
    if isdir(name):
        return _checked(Path(name).resolve())
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise FedbenchError(
            f"There is no backbone {shown(name)}: give a built-in one ({', '.join(BUILT_IN)}), "
            "a directory that exists, or a Hugging Face id such as Qwen/Qwen2.5-0.5B."
        )
    return _checked(_from_hub(name))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(_FILES))
        )
    except Exception as error:  # the hub client raises a dozen unrelated types when offline
        raise FedbenchError(
            f"The backbone {name} could not be had from the Hugging Face hub "
            f"({type(error).__name__}): go online or log in, or pass a local directory instead."
        ) from None


def meant(directory: Path) -> list[Path]:
    """The files that a model and its tokenizer are made of."""
    return sorted({path for pattern in _MEANT for path in directory.glob(pattern)})


def _as_shipped(directory: Path) -> Path:
    """A folder of ours that holds what its manifest says.

    Raises:
        Damaged: a file is not what was written; it must not pass for a backbone that was changed.
    """
    for path in harmed(directory):
        raise Damaged(
            f"{path} is not the file that was written: restore it with git checkout -- {path}, or "
            "install fedbench again."
        )
    return directory


def _checked(directory: Path) -> Path:
    if not (directory / "config.json").exists():
        raise FedbenchError(f"{directory} has no config.json: it is not a Hugging Face model.")
    _refuse_code(directory)
    if any(directory.glob("*.safetensors")):
        _refuse_elsewhere(directory)
        return directory
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise FedbenchError(
            f"{directory} holds its weights as a pickle ({pickles[0]}), which is never loaded: "
            "convert it with save_pretrained(..., safe_serialization=True)."
        )
    raise FedbenchError(f"{directory} has no weights: a *.safetensors file is needed.")


def _refuse_code(directory: Path) -> None:
    """Make sure that nothing has to be run to make the model or its tokenizer.

    Raises:
        FedbenchError: it brings classes of its own.
    """
    for path in (directory / "config.json", directory / "tokenizer_config.json"):
        if path.exists() and "auto_map" in _fields(path):
            raise FedbenchError(
                f"{path} asks for code that comes with the model (auto_map), which is never run: "
                "take a backbone whose architecture transformers has, or remove auto_map from a "
                "copy if it has this one."
            )


def _fields(path: Path) -> dict[str, Any]:
    """What a JSON file of a model says, by field.

    Raises:
        FedbenchError: it is damaged, or holds no fields.
    """
    told = read_json(path)
    if not isinstance(told, dict):
        raise FedbenchError(f"{path} holds no fields and values: restore it.")
    return told


def _refuse_elsewhere(directory: Path) -> None:
    """Make sure that weights are the model's own: safetensors of this folder, and no adapter.

    Raises:
        FedbenchError: transformers would read others.
    """
    if (directory / "adapter_config.json").exists():
        raise FedbenchError(
            f"{directory} holds an adapter beside the model (adapter_config.json), which "
            "transformers would add to it unasked: merge it, or remove that file from a copy."
        )
    for path in sorted(directory.glob("*.index.json")):
        named = map(str, dict(_fields(path).get("weight_map", {})).values())
        if odd := sorted({n for n in named if Path(n).name != n or Path(n).suffix != _SAFE}):
            raise FedbenchError(
                f"{path} names {odd[0]}, which is no {_SAFE} file of this folder: put all weights "
                "into the folder, as safetensors."
            )


@lru_cache
def digest(name: str) -> str:
    """SHA-256 over names and contents of configuration, tokenizer and weights."""
    directory = locate(name)
    total = hashlib.sha256()
    for path in meant(directory):
        with path.open("rb") as handle:
            total.update(
                f"{path.name}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}".encode()
            )
    return total.hexdigest()


def model_type(name: str) -> str:
    """Architecture as ``config.json`` names it, for example ``llama``."""
    config = read_json(locate(name) / "config.json")
    if "model_type" not in config:
        raise FedbenchError(f"{locate(name) / 'config.json'} names no model_type: restore it.")
    return str(config["model_type"])


def load_tokenizer(name: str) -> Any:
    """The backbone's fast tokenizer, exactly as stored.

    ``AutoTokenizer`` replaces the normaliser of a stored generic tokenizer by the one it expects
    for the architecture, so the class that the tokenizer's own file names is honoured first.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    directory = locate(name)
    if not any(directory.glob("tokenizer*")):
        raise FedbenchError(f"{directory} has no tokenizer: add tokenizer.json to the folder.")
    settings = directory / "tokenizer_config.json"
    stored = read_json(settings).get("tokenizer_class") if settings.exists() else None
    loader: Any = PreTrainedTokenizerFast if stored in _GENERIC else AutoTokenizer
    # Left open, a folder that brings code of its own would have transformers ask on the terminal.
    tokenizer = _loaded(name, partial(loader.from_pretrained, directory, trust_remote_code=False))
    if tokenizer.eos_token_id is None:
        raise FedbenchError(f"The tokenizer in {directory} has no eos_token: name one.")
    return tokenizer


def check_device(name: str) -> None:
    """Make sure that there is such a device here.

    Raises:
        FedbenchError: there is none.
    """
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise FedbenchError("There is no CUDA device here: use --device cpu.")


def emulates_bf16(device: str, dtype: str) -> bool:
    """Whether ``dtype`` is bf16 on a processor without instructions for it."""
    import torch

    narrow_on_cpu = (device, dtype) == ("cpu", "bfloat16")
    return narrow_on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def load_model(
    name: str, *, dtype: str, device: str, compute: str, placement: str = "whole"
) -> Any:
    """The frozen backbone in evaluation mode.

    Args:
        name: see :func:`locate`.
        dtype: ``float32`` or ``bfloat16``, of everything that is not quantised.
        device: ``cpu`` or ``cuda``.
        compute: ``plain``, ``nf4`` or ``nf4-dequantised``.
        placement: where its blocks lie, see :mod:`fedbench.models.placement`.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from fedbench.models.quantise import COMPUTES

    _quiet()
    kind = COMPUTES[compute]
    load = partial(
        AutoModelForCausalLM.from_pretrained,
        locate(name),
        dtype=getattr(torch, dtype),
        **PLACEMENTS[placement](locate(name), device),
        use_safetensors=True,
        trust_remote_code=False,
        quantization_config=kind.loading(getattr(torch, dtype)),
        output_loading_info=True,
    )
    model, loading = _loaded(name, load)
    absent = sorted([*loading["missing_keys"], *map(str, loading["mismatched_keys"])])
    if absent:
        raise FedbenchError(
            f"The weights in {locate(name)} lack {absent[0]} and {len(absent) - 1} other tensors "
            "that config.json asks for: complete the folder, or download the model again."
        )
    model.requires_grad_(False)
    # Models from the hub bring sampling settings and penalties, which would change greedy answers.
    model.generation_config = GenerationConfig()
    return kind.finish(model).eval()


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    """What ``load`` returns; what transformers raises on damaged files becomes one sentence."""
    from safetensors import SafetensorError

    try:
        return load()
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FedbenchError(
            f"The backbone in {locate(name)} cannot be loaded ({type(error).__name__}: {reason}): "
            "restore its files, or download the model again."
        ) from None


def _quiet() -> None:
    """Keep transformers from drawing bars that a reader can do nothing about."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
