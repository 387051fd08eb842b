"""Asking a cohort to train, and those of it that failed once more, as the policy says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.faults.plan import happened
from fedbench.messages import Again, Messages
from fedbench.replies import NOBODY, Heard

Read = Callable[..., Heard]  #: the replies of an exchange, after what came ``before``


def asked_to_train(
    engine: Engine, config: RunConfig, round_: int, messages: Messages, read: Read
) -> tuple[Heard, dict[str, Any]]:
    """Replies of a cohort, and what a round's record says of trouble; nothing where there was none.

    Whoever failed is sent the very same message again, so that an answer has the same bits however
    often it took. In the record, ``asked_again`` has by site why, each time; ``twice``, whose
    further answer was ignored; ``micro_batch``, by site, examples at a time where memory did not
    hold a batch; and beside them stands what was planned (:func:`fedbench.faults.plan.happened`).
    """
    policy = config.policy
    asked, again = [[*messages]], dict[str, list[str]]()
    heard = read(engine.exchange(messages, policy.deadline), before=NOBODY)
    while len(asked) <= policy.retries:
        failed = [site for site in asked[-1] if site in heard.refused]
        if not failed:
            break
        for site in failed:
            again.setdefault(site, []).append(heard.refused[site])
        once_more = Again(messages, failed, len(asked))
        asked.append(failed)
        heard = read(engine.exchange(once_more, policy.deadline), before=heard)
    headers = {site: reply.header for site, reply in heard.replies.items()}
    small = {site: h["micro_batch"] for site, h in headers.items() if "micro_batch" in h}
    told = {"asked_again": again, "twice": sorted(heard.twice), "micro_batch": small}
    return heard, {name: one for name, one in told.items() if one} | happened(config, round_, asked)
