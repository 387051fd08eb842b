"""One atomic checkpoint file per run: weights, optimizer moments and progress."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from fedbench.errors import FedbenchError
from fedbench.files import write_bytes

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Progress:
    """How far a run is, of which recipe and corpus, and what it took."""

    step: int
    seconds: float
    identity: str


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the whole state of a run in one file, so that it is either old or new."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"model/{name}"] = parameter.detach()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value
    write_bytes(path, save(tensors, metadata={"progress": json.dumps(asdict(progress))}))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Restore a run in place; return nothing where there is no checkpoint yet.

    Raises:
        FedbenchError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return _restore(path, model, optimizer)
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, KeyError):
        raise FedbenchError(
            f"{path} is damaged or of another recipe: remove {path.parent} to train anew."
        ) from None


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    with safe_open(path, framework="pt") as stored:
        names = set(stored.keys())
        for name, parameter in model.named_parameters():
            with torch.no_grad():
                parameter.copy_(stored.get_tensor(f"model/{name}"))
            moments = {m: f"{m}/{name}" for m in _MOMENTS if f"{m}/{name}" in names}
            if moments:
                state = {m: stored.get_tensor(key) for m, key in moments.items()}
                optimizer.state[parameter] = state
        return Progress(**json.loads(stored.metadata()["progress"]))
