"""Which faults and policies have no meaning, together or with the rest of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedbench.cohorts import expected_size
from fedbench.config import RunConfig
from fedbench.faults import NONE, faults_of, wrong_with
from fedbench.policy import PolicyConfig


def impossible(config: RunConfig) -> Iterable[str]:
    """A clause for everything that is contradictory about faults and policy."""
    policy = config.policy
    if config.setting != "federated":
        if config.faults != NONE or policy != PolicyConfig():
            yield (
                f"faults and policy have no meaning in the setting {config.setting}, where no "
                "sites train together: leave them out"
            )
        return
    if policy.minimum > 1 and config.private("site") is not None:
        yield (
            "policy.minimum has no meaning with privacy.unit = 'site': a private round is a "
            "release whoever was heard, even of nobody: leave it out"
        )
    if policy.retries and config.secure is not None:
        yield (
            "policy.retries has no meaning with secure: a site answers each exchange of keys, "
            "masks and shares once, and who fails has dropped out: leave it out"
        )
    # How many owners there are is seen when the task is loaded.
    owned = config.partition.kind == "natural"
    if not owned and (why := unreachable(config, range(config.partition.sites))):
        yield why
    if not wrong_with(config.faults):
        yield from _untimely(config)


def _untimely(config: RunConfig) -> Iterable[str]:
    found = faults_of(config.faults)
    endless = [kind for kind, fault in found.items() if fault.endless]
    if endless and config.policy.deadline is None:
        yield (
            f"faults = {config.faults!r} needs policy.deadline: without one the server would wait "
            f"for ever for a site that is {endless[0]}; say 60"
        )
    if config.policy.deadline is not None and not any(fault.slow for fault in found.values()):
        yield (
            "policy.deadline has no meaning where nobody is late or silent: a simulated site "
            "answers at once: leave it out, or say so in faults"
        )
    if "memory" in found and config.private("example") is not None:
        yield (
            "faults = 'memory' has no meaning with privacy.unit = 'example', where examples are "
            "processed one at a time anyway: leave it out"
        )


def unreachable(config: RunConfig, sites: Sequence[object]) -> str:
    """Why no cohort of ``sites`` can have policy.minimum, as a clause; empty if one can."""
    most = len(sites) if config.sampling == "poisson" else int(expected_size(config, sites))
    if config.policy.minimum <= most:
        return ""
    return (
        f"policy.minimum = {config.policy.minimum} can never be reached: a cohort has at most "
        f"{most} of {len(sites)} sites: take {most} or less"
    )
