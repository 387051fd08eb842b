"""One run, from its configuration to its record in the store."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from fedbench import store
from fedbench.config import RunConfig
from fedbench.durable import sweep
from fedbench.engines import Engine
from fedbench.engines.faulty import faulty
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_processes import over_processes
from fedbench.errors import FedbenchError, Replaceable
from fedbench.federation import Federated, federate
from fedbench.files import on_disk, write_bytes, write_json
from fedbench.forward import describe
from fedbench.freshness import code_of, stale, work_key
from fedbench.headers import Record
from fedbench.locks import locked
from fedbench.models.attached import attached, backbone_sizes
from fedbench.models.backbones import digest, emulates_bf16, locate
from fedbench.models.tensors import Tensors, count, count_bytes, load_tensors, trained_tensors
from fedbench.phases import phase
from fedbench.prepare import (
    FEDERATIONS,
    Prepared,
    SiteContexts,
    holdings,
    prepare,
    site_contexts,
)
from fedbench.privacy.ledger import LEDGER
from fedbench.provenance import provenance
from fedbench.resolving import check_sources, resolve
from fedbench.rules import is_personal
from fedbench.seeding import single_thread
from fedbench.site import personal_adapter
from fedbench.success import attacked
from fedbench.summary import score_adapters, summary

_SITES = "sites"  #: folder of what sites keep while a run is under way
_LOG = logging.getLogger("fedbench")

Progress = Callable[[float], None]


class Way(NamedTuple):
    """How the payloads of a run travel. It is no part of a configuration: results are the same."""

    name: str  #: as a record tells it
    #: the engine of a run, whose sites have this model, and keep what they do in this folder
    engine: Callable[[Prepared, nn.Module, Path], AbstractContextManager[Engine]]


def _in_process(
    prepared: Prepared, model: nn.Module, folder: Path
) -> AbstractContextManager[Engine]:
    """Sites in this process; or, where there are several GPUs, spread over one process for each.

    The process itself keeps its model beside that of the first worker, to score with.
    """
    devices = devices_of(prepared.config)
    if devices < 2:
        return nullcontext(InProcess(site_contexts(prepared, model, folder)))
    return over_processes(
        [partial(_sites_on, number, prepared.config, folder) for number in range(devices)]
    )


IN_PROCESS = Way("in-process", _in_process)


def run(
    config: RunConfig,
    progress: Progress = lambda share: None,
    *,
    again: bool = False,
    wait: bool = True,
    way: Way = IN_PROCESS,
) -> store.Run:
    """Do the run that ``config`` describes, or return it if it was done before.

    With ``again``, a run that only the repository keeps, without adapters, is done here too. A run
    may be begun one ``way`` and go on another.

    A run that was killed goes on from its last checkpoint and ends with the same bits. Two
    processes that want the same run take turns: the second finds it done.

    Raises:
        Busy: without ``wait``, another process does this run just now.
        FedbenchError: the configuration, the data or the backbone cannot be used, or the disk
            cannot be written; one sentence says what to do, and what was finished stays.
    """
    config = resolve(config)
    usable = False
    with suppress(FedbenchError):  # it may be about to be replaced: see again under its lock
        usable = _usable(config, again)
        if usable and not store.untidy(config.id):
            return store.load(config.id)
    if not usable:
        check_sources(config)
    with _alone(config, wait) as directory:
        if not _usable(config, again):
            if reason := stale(config):
                _LOG.warning("Run %s is done again because %s.", config.id, reason)
            _compute(config, directory, progress, way)
        return store.load(config.id)


@contextmanager
def _alone(config: RunConfig, wait: bool) -> Iterator[Path]:
    """The run's folder for whoever does it, one at a time; afterwards its work is removed.

    What a killed process left of files that it was writing is swept away first.

    Raises:
        Busy: without ``wait``, another process does this run just now.
    """
    directory = store.folder(config.id)
    with locked(store.lock(config.id), wait=wait), on_disk(directory):
        sweep(directory.rglob(".*"))
        yield directory
        shutil.rmtree(store.work(config.id), ignore_errors=True)


def _usable(config: RunConfig, again: bool) -> bool:
    """Whether the store has this run, kept by the repository or made by today's code and data."""
    return stale(config) is None and not (again and store.load(config.id).recorded)


def _compute(config: RunConfig, directory: Path, progress: Progress, way: Way) -> None:
    started, began = time.time(), time.perf_counter()
    with phase("load"):
        prepared = prepare(config)
        sizes = backbone_sizes(config)
    with single_thread(), attached(config) as model:
        initial = trained_tensors(model)
        sizes |= {"adapter_bytes": count_bytes(initial), "trainable_parameters": count(initial)}
        computed = describe(model, config.max_tokens, share=config.dropout == 0)
        _tell_how(config.backbone, emulates_bf16(config.device, config.dtype), **computed)
        work = _work_folder(prepared)
        train = partial(_trained, prepared, model, initial, work, progress, way)
        try:
            results, adapters, deltas = train()
        except Replaceable as error:
            _LOG.warning("%s This run starts over.", error)
            _begin_anew(work)
            load_tensors(model, initial)
            results, adapters, deltas = train()
        with phase("evaluate"):
            items = score_adapters(prepared, model, adapters or {"global": initial}, deltas)
            harm = attacked(prepared, model, adapters, deltas, items)
    store.discard(config.id)  # only now: what was there stays until its successor is computed
    for kind, many in {"adapters": adapters, "deltas": deltas}.items():
        for name, tensors in many.items():
            write_bytes(directory / kind / f"{name}.safetensors", save_safetensors(tensors))
    write_json(directory / "partition.json", prepared.partition.to_json())
    rounds = [
        {"federation": name, **record} for name, result in results.items() for record in result.log
    ]
    store.save(
        directory,
        config,
        summary(prepared, items, rounds) | sizes | {"forward": computed} | harm,
        rounds,
        holdings(prepared),
        _origin(prepared, way, started, time.perf_counter() - began),
        items,
    )


@lru_cache
def _tell_how(backbone: str, emulated: bool, blocks: str, prefix: str) -> None:
    """Say, once in a process, what makes runs slower than they could be, with the same results."""
    if emulated:
        _LOG.warning("This processor has no bf16 arithmetic: dtype = bfloat16 is slow here.")
    if blocks != "fedbench":
        _LOG.warning(
            "The blocks of %s are computed by transformers, without a shared prefix: slower, with "
            "the same results.",
            backbone,
        )
    elif prefix != "once per batch":
        _LOG.warning("A shared prefix is computed in every sequence anew, because of dropout.")


def _work_folder(prepared: Prepared) -> Path:
    """Where checkpoints are kept; those that other code, data or backbone made do not count."""
    key, work = work_key(prepared.config), store.work(prepared.config.id)
    for other in work.glob("*"):
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)
    return work / key


def _begin_anew(work: Path) -> None:
    """Remove what a run has computed so far; what it spent of a privacy budget stays spent.

    The same turns come again, under the same noise: to the ledger they are the same releases.
    """
    with on_disk(work):
        for path in work.rglob("*"):
            if path.is_file() and path.name != LEDGER:
                path.unlink()


def _trained(
    prepared: Prepared, model: nn.Module, initial: Tensors, work: Path, progress: Progress, way: Way
) -> tuple[dict[str, Federated], dict[str, Tensors], dict[str, Tensors]]:
    """What federations end with: by federation, adapters by name, and deltas by name.

    Raises:
        Replaceable: a file that was kept on the way, to go on from, is damaged.
    """
    results = _federations(prepared, model, initial, work, progress, way)
    return results, *_ended_with(prepared, results, work)


def _federations(
    prepared: Prepared, model: nn.Module, initial: Tensors, work: Path, progress: Progress, way: Way
) -> dict[str, Federated]:
    """Run the setting's federations one after the other; each resumes by itself."""
    config = prepared.config
    planned = FEDERATIONS[config.setting](prepared.partition)
    results: dict[str, Federated] = {}
    if not planned:
        return results
    with way.engine(prepared, model, work / _SITES) as sound:
        engine = faulty(sound, config)
        for number, (name, sites) in enumerate(planned.items()):

            def report(record: Record, done: int = number) -> None:
                progress((done + (record["round"] + 1) / config.rounds) / len(planned))

            folder = work / "federations" / name
            results[name] = federate(config, engine, sites, initial, folder, report)
    return results


def _ended_with(
    prepared: Prepared, results: Mapping[str, Federated], work: Path
) -> tuple[dict[str, Tensors], dict[str, Tensors]]:
    """Adapters and deltas by name: of a federation, or of sites that ended with their own.

    The last record of a federation whose sites do tells which of them have one.
    """
    if not is_personal(prepared.config):
        adapters = {name: result.adapter for name, result in results.items()}
        return adapters, {name: one.delta for name, one in results.items() if one.delta}
    within = {site: name for name, one in results.items() for site in one.log[-1]["cohort"]}
    own = {site: personal_adapter(work / _SITES, site) for site in within}
    return own, {s: results[name].delta for s, name in within.items() if results[name].delta}


def devices_of(config: RunConfig) -> int:
    """Devices that the sites of a run are spread over: all GPUs, unless the backbone itself is."""
    on_gpus = config.device == "cuda" and config.placement == "whole"
    return torch.cuda.device_count() if on_gpus else 1


def _sites_on(number: int, config: RunConfig, folder: Path) -> SiteContexts:
    """In a worker: the sites of a run, with a model on one device for as long as it lives."""
    if config.device == "cuda":
        torch.cuda.set_device(number)
    model = _MODELS.enter_context(attached(config))
    return site_contexts(prepare(config), model, folder)


_MODELS = ExitStack()  #: in a worker


def _origin(prepared: Prepared, way: Way, started: float, seconds: float) -> Mapping[str, Any]:
    return provenance(code_of(prepared.config)) | {
        "engine": way.name,
        "data": prepared.task.digest,
        "sources": dict(prepared.task.sources),
        "backbone": digest(prepared.config.backbone),
        # The hub client names a model's folder after the commit that was loaded.
        "backbone_revision": locate(prepared.config.backbone).name,
        "partition": prepared.partition.digest,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 1),
    }
