"""After the last round: every site trains on alone, and keeps an adapter of its own.

Fine-tuning after a federation is the plainest way to a personal model (Cheng et al.,
arXiv:2108.07313, compare it with others). A rule under which sites keep a part of the adapter all
along ends here, too, without further training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.errors import FedbenchError
from fedbench.headers import Record, to_personalise, to_validate
from fedbench.messages import Held, Messages
from fedbench.replies import heard
from fedbench.round_log import training_record, validation_record
from fedbench.rules.rule import Message


def personalised(
    config: RunConfig,
    engine: Engine,
    sites: Sequence[str],
    tell: Callable[[str], Message],
    log: Sequence[Record],
    held: Held,
) -> dict[str, Any]:
    """Let all sites make and keep their own adapters; one more record of the log.

    Where sites only keep what they had, the record tells bytes and no work. A site that does not
    answer as asked is left without an adapter, and the record says why; ``cohort`` are the others.

    Raises:
        FedbenchError: no site is left.
    """
    version = len(log)
    headers = {site: to_personalise(config, log, site) for site in sites}
    messages = Messages(headers, tell, config, version, held)
    kept = heard(engine.exchange(messages, None), messages, "update")
    if not kept.replies:
        site, why = next(iter(kept.refused.items()))
        raise FedbenchError(
            f"No site ended with its own adapter: {site}: {why} Start again to go on."
        )
    record = training_record(version, messages, kept)
    calls = {site: to_validate(config, log, site, personal=True) for site in kept.replies}
    asked = Messages(calls, tell, config, version, messages.held)
    return record | validation_record(asked, heard(engine.exchange(asked, None), asked, "score"))
