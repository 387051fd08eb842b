"""Many runs: what is missing, side by side in long-lived workers, one progress display.

Several processes may want the same runs: each leaves alone what another has in hand, does the rest,
and then waits for the others, whose runs it takes over should they end or fail.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedbench import profiles, store
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError, Replaceable, of_system, traced
from fedbench.files import write_bytes
from fedbench.freshness import stale
from fedbench.locks import Busy, holder, is_held, machine_shared
from fedbench.processes import begin_worker
from fedbench.tasks.audit_lines import audit_lines

_SECONDS = 0.5  #: between looks at what other processes have in hand
_ATTEMPTS = 3  #: a worker killed from outside, say for memory, takes its neighbours' runs along


def planned(profile: str) -> list[RunConfig]:
    """Every run of a profile."""
    return list(profiles.load(profile).runs)


def found(profile: str) -> list[store.Run]:
    """The runs of a profile that are there and whole; nothing is run."""
    return _there(planned(profile))


def ensure(profile: str, *, progress: bool = True, missing_ok: bool = False) -> list[store.Run]:
    """Do the runs of a profile that are missing or stale, then return all of them.

    Raises:
        FedbenchError: some could not be done (unless ``missing_ok``); the others stay.
    """
    return ensure_runs(planned(profile), progress=progress, missing_ok=missing_ok)


def ensure_runs(
    configs: Sequence[RunConfig], *, progress: bool = True, missing_ok: bool = False
) -> list[store.Run]:
    """Do those of ``configs`` that are missing or stale, then return all that are there."""
    waiting = {config: _why_done(config) for config in configs}
    for reason in sorted({reason for reason in waiting.values() if reason}):
        print(f"Some runs are done again because {reason}.")
    missing = [config for config in configs if waiting[config] is not None]
    failures: dict[RunConfig, str] = {}
    if missing:
        print("\n".join(audit_lines(config.task for config in missing)))
        with machine_shared():
            failures = _work(missing, progress)
    if failures and not missing_ok:
        first = next(iter(failures.values()))
        raise FedbenchError(
            f"{len(failures)} of {len(configs)} runs could not be done; the others are kept. "
            f"The first failed with: {first}"
        )
    return _there(configs)


def _why_done(config: RunConfig) -> str | None:
    """None if a run is there and counts, and nothing of its work is left; else why not, if told.

    What another process has in hand is not looked at: it may be about to be replaced.
    """
    if is_held(_lock(config)) or store.untidy(config.id):
        return ""
    return stale(config)


def _there(configs: Sequence[RunConfig]) -> list[store.Run]:
    """Those that are there; one that is damaged, and was not done again, is as good as missing."""
    runs = []
    for config in configs:
        with suppress(Replaceable):
            if store.exists(config.id):
                runs.append(store.load(config.id))
    return runs


def _lock(config: RunConfig) -> Path:
    return store.lock(config.id)


def _work(configs: Sequence[RunConfig], progress: bool) -> dict[RunConfig, str]:
    """Run ``configs`` over one process per core; return what failed and why."""
    waiting = sorted(configs, key=lambda c: (c.backbone, str(c.compute), -c.passes, c.task, c.id))
    failures: dict[RunConfig, str] = {}
    done = multiprocessing.get_context("spawn").Value("d", 0.0)
    layout = "{l_bar}{bar}| {n:.1f}/{total} runs [{elapsed} done, {remaining} left]"
    with tqdm(total=len(waiting), disable=not progress, bar_format=layout) as bar:
        while waiting:
            elsewhere = _side_by_side(waiting, failures, done, bar)
            waiting = _left_by_others(elsewhere, done, bar)
    return failures


def _side_by_side(
    waiting: Sequence[RunConfig], failures: dict[RunConfig, str], done: Any, bar: Any
) -> list[RunConfig]:
    """Do what no other process does, and note what fails; return what others have in hand."""
    elsewhere: list[RunConfig] = []
    for _ in range(_ATTEMPTS):
        waiting = _attempt(waiting, failures, elsewhere, done, bar)
        if not waiting:
            return elsewhere
    # A run that kills whoever does it is told from its neighbours by a worker of its own.
    killed = [c for config in waiting for c in _attempt([config], failures, elsewhere, done, bar)]
    failures.update(dict.fromkeys(killed, "its worker process was killed, perhaps for memory."))
    return elsewhere


def _left_by_others(elsewhere: Sequence[RunConfig], done: Any, bar: Any) -> list[RunConfig]:
    """Wait for other processes; return what is to be done here once one has left something."""
    told: set[str] = set()
    while elsewhere:
        held = {config: holder(_lock(config)) for config in elsewhere if is_held(_lock(config))}
        for who in sorted({*held.values()} - told):
            bar.write(f"Other processes have {len(held)} of these runs in hand: waiting for {who}.")
            told.add(who)
        left = [c for c in elsewhere if c not in held and _why_done(c) is not None]
        with done.get_lock():
            done.value += len(elsewhere) - len(held) - len(left)
        _show(bar, done.value)
        if left:
            return [*held, *left]
        if elsewhere := [*held]:
            time.sleep(_SECONDS)
    return []


def _attempt(
    waiting: Sequence[RunConfig],
    failures: dict[RunConfig, str],
    elsewhere: list[RunConfig],
    done: Any,
    bar: Any,
) -> list[RunConfig]:
    """One pool's life: returns the runs that were lost because the pool broke."""
    lost = list(waiting)
    with _pool(workers(waiting, cores_here()), done) as pool, suppress(BrokenProcessPool):
        futures = {pool.submit(_one, config): config for config in waiting}
        for future in _as_they_finish(futures, lambda: _show(bar, done.value)):
            with suppress(BrokenProcessPool):
                try:
                    future.result()
                except Busy:
                    elsewhere.append(futures[future])
                except FedbenchError as error:
                    failures[futures[future]] = str(error)
                lost.remove(futures[future])
    return lost


@contextmanager
def _pool(workers: int, done: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool that is stopped at once, runs in hand included, when the block is left by an error."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (done,))
    try:
        yield pool
    except BaseException:
        # An interrupted run goes on from its checkpoint, so nothing is lost by killing it.
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def cores_here() -> int:
    """Cores that this process may use; all of the machine's where the system does not say."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers(waiting: Sequence[RunConfig], cores: int) -> int:
    """One process per core, or a single one where they would share a GPU."""
    on_gpu = any(config.device == "cuda" for config in waiting)
    return 1 if on_gpu else min(len(waiting), cores)


def _as_they_finish(
    futures: Mapping[Future[None], RunConfig], tick: Callable[[], None]
) -> Iterator[Future[None]]:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        tick()
        yield from finished


def _show(bar: Any, value: float) -> None:
    bar.update(min(value, bar.total) - bar.n)  # sums of shares may end a hair above


_done: Any = None  #: in a worker: the grid's shared count of finished runs


def _start_worker(done: Any) -> None:
    global _done
    _done = done
    begin_worker()


def _one(config: RunConfig) -> None:
    from fedbench.running import run

    reported = 0.0

    def report(share: float) -> None:
        nonlocal reported
        with _done.get_lock():
            _done.value += share - reported
        reported = share

    try:
        run(config, report, wait=False)
    except Busy:
        raise
    except FedbenchError:
        report(1.0)
        raise
    except Exception as error:
        report(1.0)
        if sentence := of_system(error, store.folder(config.id)):
            raise sentence from None
        path = store.folder(config.id) / "error.txt"
        write_bytes(path, traced(error).encode())
        raise FedbenchError(
            f"run {config.id} met a defect of fedbench ({type(error).__name__}); please report it "
            f"with {path}."
        ) from None
    report(1.0)
