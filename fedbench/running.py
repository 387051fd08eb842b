"""One run, from its configuration to its record in the store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_safetensors
from torch import nn

from fedbench import store
from fedbench.config import TRAINED, RunConfig
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.federation import Federated, federate
from fedbench.files import locked, write_bytes, write_json
from fedbench.freshness import ROOT, moved
from fedbench.hashing import sha256_json, short
from fedbench.models.attached import attached, frozen_bytes, tokenizer_of
from fedbench.models.backbones import digest
from fedbench.models.tensors import Tensors, count_bytes, trained_tensors
from fedbench.partition import Partition, make_partition
from fedbench.prepare import FEDERATIONS, holdings, select, site_contexts
from fedbench.provenance import fingerprint, provenance
from fedbench.resolving import check_sources, resolve
from fedbench.summary import score_adapters, summary
from fedbench.tasks import Example, Task, load_task

Progress = Callable[[float], None]


def run(config: RunConfig, progress: Progress = lambda share: None) -> store.Run:
    """Do the run that ``config`` describes, or return it if it was done before.

    A run that was killed goes on from its last checkpoint and ends with the same bits. Two
    processes that want the same run take turns: the second finds it done.

    Raises:
        FedbenchError: the configuration, the data or the backbone cannot be used, or the disk
            cannot be written; one sentence says what to do, and what was finished stays.
    """
    config = resolve(config)
    if not _usable(config):
        check_sources(config)
        directory = store.folder(config.id)
        with locked(directory / "lock"):
            if not _usable(config):
                store.discard(config.id)
                _compute(config, directory, progress)
    return store.load(config.id)


def _usable(config: RunConfig) -> bool:
    """Whether the store has this run, kept by the repository or made by today's code and data."""
    if not store.exists(config.id):
        return False
    found = store.load(config.id)
    return found.recorded or not moved(found)


def _compute(config: RunConfig, directory: Path, progress: Progress) -> None:
    started = time.time()
    task = load_task(config.task)
    examples = select(task, config)
    partition = make_partition(examples, config.partition, config.seed)
    if config.setting in TRAINED and not partition.trained:
        raise FedbenchError(
            f"Every site has fewer than partition.minimum = {config.partition.minimum} training "
            "examples: take fewer sites, a lower minimum or a higher train_limit."
        )
    work = _work_folder(directory, config, task)
    tokenizer = tokenizer_of(config.backbone)
    sizes = {"backbone_bytes": frozen_bytes(config)}
    with attached(config) as model:
        initial = trained_tensors(model)
        sizes |= {
            "adapter_bytes": count_bytes(initial),
            "trainable_parameters": sum(tensor.numel() for tensor in initial.values()),
        }
        results = _federations(
            config, tokenizer, task, examples, partition, model, initial, work, progress
        )
        adapters = {name: result.adapter for name, result in results.items()}
        items = score_adapters(
            config, tokenizer, task, examples, partition, model, adapters or {"global": initial}
        )
    for name, tensors in adapters.items():
        write_bytes(directory / "adapters" / f"{name}.safetensors", save_safetensors(tensors))
    write_json(directory / "partition.json", partition.to_json())
    rounds = [
        {"federation": name, **record} for name, result in results.items() for record in result.log
    ]
    store.save(
        directory,
        config,
        summary(task, examples, partition, items, rounds) | sizes,
        rounds,
        holdings(examples, partition),
        _origin(config, task, partition, started),
        items,
    )
    shutil.rmtree(directory / "work", ignore_errors=True)


def _work_folder(directory: Path, config: RunConfig, task: Task) -> Path:
    """Where checkpoints are kept; those that other code, data or backbone made do not count."""
    key = short(sha256_json([fingerprint(ROOT), task.digest, digest(config.backbone)]))
    for other in (directory / "work").glob("*"):
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)
    return directory / "work" / key


def _federations(
    config: RunConfig,
    tokenizer: Any,
    task: Task,
    examples: list[Example],
    partition: Partition,
    model: nn.Module,
    initial: Tensors,
    work: Path,
    progress: Progress,
) -> dict[str, Federated]:
    """Run the setting's federations one after the other; each resumes by itself."""
    contexts = site_contexts(config, tokenizer, task, examples, partition, model, work / "sites")
    planned = FEDERATIONS[config.setting](partition)
    results = {}
    for number, (name, sites) in enumerate(planned.items()):
        results[name] = federate(
            config,
            InProcess(contexts),
            sites,
            initial,
            work / "federations" / name,
            lambda share, done=number: progress((done + share) / len(planned)),  # type: ignore[misc]
        )
    return results


def _origin(
    config: RunConfig, task: Task, partition: Partition, started: float
) -> Mapping[str, Any]:
    return provenance(ROOT) | {
        "data": task.digest,
        "sources": dict(task.sources),
        "backbone": digest(config.backbone),
        "partition": partition.digest,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
    }
