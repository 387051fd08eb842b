"""Whether a site takes part in a run: its policy, and whether both ends mean the same by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fedbench.deployment.lifetime import foreseen
from fedbench.deployment.own_data import own_task
from fedbench.deployment.policy import SitePolicy, refusals
from fedbench.deployment.proposing import Proposal, asked_by
from fedbench.errors import FedbenchError, shown
from fedbench.models.backbones import check_device, digest
from fedbench.models.placement import check_placement
from fedbench.resolving import resolve
from fedbench.tasks import Task
from fedbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class House:
    """All that a site brings along."""

    description: Path  #: of its task
    spec: TaskSpec
    task: Task
    policy: SitePolicy
    key: EllipticCurvePrivateKey
    folder: Path  #: what it keeps


def house(
    description: Path, data: Path, policy: SitePolicy, key: EllipticCurvePrivateKey, folder: Path
) -> House:
    """A site with the rows of its own file.

    Raises:
        FedbenchError: the file or its description is wrong.
    """
    spec, task = own_task(description, data)
    return House(description, spec, task, policy, key, folder)


def objections(house: House, proposal: Proposal) -> list[str]:
    """Every reason why a site does not take part in a run; nothing of it was computed.

    The policy is asked before anything that the proposal names is looked for.
    """
    found = [*_simulation(proposal), *_by_policy(house, proposal), *_left_open(house, proposal)]
    found = found or [*_meant_otherwise(house, proposal)]
    return found or [*_by_policy(house, proposal, counted=True)]


def _simulation(proposal: Proposal) -> Iterator[str]:
    if proposal.simulated:
        yield "A simulation is proposed, whose noise protects nobody."


def _left_open(house: House, proposal: Proposal) -> Iterator[str]:
    """What only an exact name or number tells, which a policy is not asked for."""
    config = proposal.config
    if config.task != house.spec.name:
        yield f"The run has task {shown(config.task)}, and this site's own is {house.spec.name}."
    # Found by trying, which takes hours of many small steps.
    privacy = config.private("example")
    if privacy is not None and privacy.noise is None:
        yield "privacy.noise is left open: whoever proposes a run says how much noise it has."


def _by_policy(house: House, proposal: Proposal, *, counted: bool = False) -> list[str]:
    """What the policy has against it; with ``counted``, against what it would spend in all."""
    sites, config = len(proposal.sites), proposal.config
    after = foreseen(house.folder, house.policy, config, sites) if counted else None
    examples = len(house.task.of_split("train"))
    return refusals(house.policy, config, sites=sites, examples=examples, foreseen=after)


def _meant_otherwise(house: House, proposal: Proposal) -> Iterator[str]:
    """What is not the same at both ends."""
    config = proposal.config
    if proposal.task != asked_by(house.spec):
        yield (
            f"The server asks the task {config.task} otherwise than {house.description.name} here: "
            "prompt, labels, options and answer must be the same at all sites."
        )
    if proposal.backbone != digest(config.backbone):
        yield f"The backbone {config.backbone} of the server is another than the one here."
    own = config.model_copy(update={"task": str(house.description)})
    try:
        check_device(config.device)
        check_placement(config.placement)
        same = resolve(own).model_copy(update={"task": config.task}) == config
    except FedbenchError as error:
        yield str(error)
    else:
        if not same:
            yield "The server's configuration is not in the form that configurations have."


def in_words(proposal: Proposal) -> str:
    """A run as people at a site are told of it."""
    config = proposal.config
    privacy = f"{config.privacy.unit}s private" if config.privacy else "no differential privacy"
    masks = "updates masked" if config.secure else "updates seen by the server"
    return (
        f"{config.task}, {config.method} on {config.backbone}, {config.rule}, {config.rounds} "
        f"rounds, {len(proposal.sites)} sites, {privacy}, {masks}"
    )
