"""The training loop: plain next-token prediction that resumes to the same bits."""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from fedbench.errors import FedbenchError
from fedbench.files import write_bytes
from fedbench.pretraining.batches import as_tensor, batch_at, window_split
from fedbench.pretraining.checkpoint import Progress, load_checkpoint, save_checkpoint
from fedbench.pretraining.recipes import Recipe, model_config
from fedbench.pretraining.tokenizer import Tokens

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
_LOG_EVERY = 20
_BETAS = (0.9, 0.95)
_TRIAL_WINDOWS = 32


@dataclass
class Run:
    """One training under way: the pieces that every step needs."""

    recipe: Recipe
    folder: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer
    training: Tokens
    held_out: Tokens
    progress: Progress


def new_model(recipe: Recipe) -> nn.Module:
    """Return the random model that the seed of the recipe stands for."""
    torch.manual_seed(recipe.seed)
    model: nn.Module = AutoModelForCausalLM.from_config(
        model_config(recipe), dtype=torch.float32, attn_implementation="sdpa"
    )
    return model


def open_run(recipe: Recipe, tokens: Tokens, identity: str, folder: Path) -> Run:
    """Start a run or take up the one that the folder holds."""
    torch.set_num_threads(1)
    model = new_model(recipe)
    optimizer = _optimizer(model, recipe)
    found = load_checkpoint(folder / CHECKPOINT, model, optimizer)
    if found and found.identity != identity:
        raise FedbenchError(
            f"{folder} holds a run of another recipe or corpus; remove it to start anew."
        )
    progress = found or Progress(step=0, seconds=0.0, identity=identity)
    training, held_out = window_split(tokens, recipe.sequence)
    return Run(recipe, folder, model, optimizer, training, held_out, progress)


def continue_run(run: Run, until: int | None = None) -> None:
    """Train up to a step, by default the last one, with a checkpoint now and then."""
    last = run.recipe.steps if until is None else min(until, run.recipe.steps)
    _cut_log(run.folder / LOG, run.progress.step)
    started, before = time.monotonic(), run.progress
    for step in range(before.step, last):
        loss = train_step(run, step)
        seconds = before.seconds + time.monotonic() - started
        run.progress = replace(before, step=step + 1, seconds=seconds)
        _report(run, loss, time.monotonic() - started, before.step)
        if (step + 1) % run.recipe.checkpoint_every == 0 or step + 1 == last:
            save_checkpoint(run.folder / CHECKPOINT, run.model, run.optimizer, run.progress)


def train_step(run: Run, step: int) -> torch.Tensor:
    """Make one update and return the loss before it."""
    recipe = run.recipe
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    windows = batch_at(run.training, step, recipe.batch, recipe.seed)
    loss = next_token_loss(run.model, windows, recipe.bfloat16)
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Warm up linearly, then fall along a cosine to a share of the peak."""
    warmup = max(1, round(recipe.warmup_share * recipe.steps))
    if step < warmup:
        return recipe.peak_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, recipe.steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return recipe.peak_rate * (recipe.final_rate_share + (1 - recipe.final_rate_share) * cosine)


def next_token_loss(model: nn.Module, windows: torch.Tensor, bfloat16: bool) -> torch.Tensor:
    """Return the mean cross-entropy of every next token.

    One window at a time goes through the output matrix: the logits of a whole batch would not
    fit into the cache of the processor, which costs a fifth of the speed.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        hidden = model.get_submodule("model")(input_ids=windows, use_cache=False).last_hidden_state
        head = model.get_submodule("lm_head")
        losses = [
            nn.functional.cross_entropy(head(states[:-1]), window[1:], reduction="sum")
            for states, window in zip(hidden.unbind(), windows, strict=True)
        ]
    return torch.stack(losses).sum() / windows[:, 1:].numel()


@torch.no_grad()
def mean_loss(model: nn.Module, windows: Tokens, recipe: Recipe) -> float:
    """Return the mean loss over all windows, a batch at a time."""
    total = 0.0
    for start in range(0, len(windows), recipe.batch):
        batch = as_tensor(windows[start : start + recipe.batch])
        total += len(batch) * float(next_token_loss(model, batch, recipe.bfloat16))
    return total / len(windows)


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the lines of a training log.

    Raises:
        FedbenchError: the log is missing or damaged.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        raise FedbenchError(
            f"{path} is missing or damaged: remove {path.parent} to train anew."
        ) from None


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Decay matrices only: norms and biases have no reason to shrink."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=_BETAS, fused=True)


def _report(run: Run, loss: torch.Tensor, seconds: float, first: int) -> None:
    """Log the loss and say how long the rest will take."""
    step = run.progress.step
    if step % _LOG_EVERY and step != run.recipe.steps:
        return
    per_step = seconds / (step - first)
    line = {"step": step, "loss": round(float(loss), 4), "seconds": round(run.progress.seconds, 1)}
    if step % run.recipe.checkpoint_every == 0:
        line["held_out"] = round(mean_loss(run.model, run.held_out[:_TRIAL_WINDOWS], run.recipe), 4)
    _append_log(run.folder / LOG, line)
    left = (run.recipe.steps - step) * per_step / 60
    speed = run.recipe.sequence * run.recipe.batch / per_step
    print(
        f"{run.recipe.name} step {step}/{run.recipe.steps} loss {line['loss']:.3f} "
        f"{speed:.0f} tokens/s {left:.1f} min left",
        flush=True,
    )


def _append_log(path: Path, line: dict[str, float]) -> None:
    _write_log(path, [*(read_log(path) if path.exists() else []), line])


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines of steps that the checkpoint does not hold: they will be written again."""
    if path.exists():
        _write_log(path, [line for line in read_log(path) if line["step"] <= step])


def _write_log(path: Path, lines: Iterable[dict[str, float]]) -> None:
    write_bytes(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
