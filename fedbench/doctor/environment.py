"""The environment: libraries, the kernel of notebooks, 4-bit weights, the way to the hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path

from fedbench.doctor.finding import FAIL, NOTE, OK, Finding
from fedbench.paths import CHECKOUT
from fedbench.provenance import LIBRARIES
from fedbench.report.build import KERNEL

LOCK = CHECKOUT / "requirements.lock"
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES = ("1", "on", "true", "yes")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def libraries() -> Finding:
    """Those that can change a number are there, in the versions that are locked."""
    if absent := [name for name in LIBRARIES if _version(name) is None]:
        return Finding("libraries", FAIL, f"{', '.join(absent)} not installed: make env.")
    if not LOCK.exists():
        return Finding("libraries", OK, "all there; an installation has no lock to compare with")
    pinned = dict(_PIN.findall(LOCK.read_text(encoding="utf-8")))
    other = [
        f"{name} {here}, not {pinned[name]}"
        for name in LIBRARIES
        if (here := _version(name)) and name in pinned and here.split("+")[0] != pinned[name]
    ]
    if other:
        return Finding("libraries", NOTE, f"{'; '.join(other)}: make env, or numbers may differ.")
    return Finding("libraries", OK, f"all {len(LIBRARIES)} that can change a number are as locked")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def quantisation() -> Finding:
    """4-bit weights can be made."""
    import torch
    from bitsandbytes.functional import quantize_4bit

    quantize_4bit(torch.zeros(64, 64), quant_type="nf4")
    return Finding("4-bit weights", OK, f"bitsandbytes {_version('bitsandbytes')} quantises here")


def kernel() -> Finding:
    """Notebooks find the kernel that they are executed with."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        found = KernelSpecManager().get_kernel_spec(KERNEL)
    except NoSuchKernel:
        return Finding("Jupyter kernel", FAIL, f"{KERNEL} is not installed: pip install ipykernel.")
    program = str(found.argv[0])
    if "/" in program and not Path(program).exists():
        return Finding(
            "Jupyter kernel",
            FAIL,
            f"{KERNEL} starts {program}, which is gone: pip install ipykernel.",
        )
    return Finding("Jupyter kernel", OK, f"{KERNEL} ({program})")


def hub() -> Finding:
    """Whether models and datasets may be fetched, and as whom; a token is never shown."""
    offline = [name for name in _OFFLINE if os.environ.get(name, "").lower() in _YES]
    known = any(os.environ.get(name) for name in _TOKENS) or _token_file().exists()
    token = "a token is set" if known else "no token is set, which gated models need"
    if offline:
        return Finding("hub", NOTE, f"{', '.join(offline)}: nothing is fetched; {token}.")
    return Finding("hub", OK, f"may be asked; {token}")


def _token_file() -> Path:
    root = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_TOKEN_PATH", root / "token"))


CHECKS = (libraries, quantisation, kernel, hub)
