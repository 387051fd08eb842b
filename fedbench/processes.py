"""How a worker process begins, whoever it works for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def begin_worker() -> None:
    """Compute with one thread, leave Ctrl-C to the parent, and end when it does.

    A parent that is killed cannot stop its workers: they see its end themselves, and lose nothing.
    """
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole terminal: the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
