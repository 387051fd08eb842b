"""Sites spread over worker processes, one for each device: the engine of several GPUs.

A worker has a model of its own and does what :mod:`fedbench.site` says, with the same payloads. It
takes the next site as soon as it is free, so replies come in any order; they are reduced in the
order of sites all the same, and who did a site's work does not show in the result.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fedbench.engines import Failure
from fedbench.engines.answering import answer
from fedbench.errors import FedbenchError
from fedbench.processes import begin_worker
from fedbench.site import SiteContext

Sites = Mapping[str, SiteContext]
Answer = bytes | Failure


@dataclass(frozen=True)
class OverProcesses:
    """Hands every payload to a worker that is free."""

    workers: Sequence[ProcessPoolExecutor]  #: of one process each

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Answer for all sites, as many at a time as there are workers; no deadline applies."""
        waiting, free = iter(messages.items()), [*self.workers]
        busy: dict[Future[Answer], tuple[str, ProcessPoolExecutor]] = {}
        while True:
            # A message is made when it is taken, so no more are taken than can be worked on.
            while free and (taken := next(waiting, None)):
                site, payload = taken
                worker = free.pop()
                busy[_handed(worker, site, payload)] = site, worker
            if not busy:
                return
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                site, worker = busy.pop(future)
                free.append(worker)
                yield site, _outcome(future)


@contextmanager
def over_processes(starts: Sequence[Callable[[], Sites]]) -> Iterator[OverProcesses]:
    """A worker for each of ``starts``, which is called in it, once, for the sites it knows."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        yield OverProcesses(
            [
                stack.enter_context(ProcessPoolExecutor(1, context, _begin, (start,)))
                for start in starts
            ]
        )


def _handed(worker: ProcessPoolExecutor, site: str, payload: bytes) -> Future[Answer]:
    try:
        return worker.submit(_answer, site, payload)
    except BrokenProcessPool as error:  # it died of an earlier site
        broken: Future[Answer] = Future()
        broken.set_exception(error)
        return broken


def _outcome(future: Future[Answer]) -> Answer:
    """What a site answered.

    Raises:
        FedbenchError: nobody did; a result would depend on it if the round went on.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise FedbenchError(
            "A worker process was killed, perhaps for lack of memory: start again to go on."
        ) from None


_start: Callable[[], Sites]  #: in a worker: where its sites come from
_sites: Sites | None = None  #: in a worker: once it was asked for the first one


def _begin(start: Callable[[], Sites]) -> None:
    global _start
    begin_worker()
    _start = start


def _answer(site: str, payload: bytes) -> Answer:
    global _sites
    if _sites is None:
        _sites = _start()
    return answer(_sites[site], payload)
