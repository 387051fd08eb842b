"""What a site lets a federation do with its data: a file of its own, which no server can change.

A server proposes a run; :func:`refusals` says why it may not be, before anything is computed. Then
every message is held against the same policy (:func:`check_message`), because a server may say one
thing in a configuration and ask another in a message. What is wrong on purpose here, attacks,
faults, defects and answers that are noisy, no policy can allow.

What no policy can stop, for whoever writes one:

- **An update says something of its examples**, without privacy of examples: most where it is made
  of few of them, in small batches. A server sets ``batch_size``, and passes per turn. Secure
  aggregation hides one update among ``minimum_cohort``, if their sites are what they say.
- **Sums may be subtracted.** A server that asks nearly the same of other cohorts in two rounds, or
  tells one round twice, has two sums, whose difference may be one site's update. And it may have
  invented sites: a site sees their names, and who is behind them only by their keys.
- **Validation scores are exact**, and outside of every epsilon. A server that asks for them under
  adapters of its choice learns of single validation items. ``validation: refused`` ends that.
- **Time and numbers.** When a site answers, how long it took, how many messages there were, and
  that it refused, are seen by who carries them. Rounds have no end but the run's own, and neither
  scoring nor a step that has begun is cut short; whoever runs the site may stop it at any time.
- **What a batch or an adapter takes of memory** is found out by trying. A site that runs out of it
  leaks nothing, and is gone.
- **The adapter and the backbone.** What a site trains from, its server says: an adapter can be made
  for an update to tell more of examples. Under flora and fedex-lora a server also adds to the
  backbone's weights; ``rules`` can leave them out. A policy says which backbone by its digest;
  whether it is a good one, and this program what it claims to be, are decided elsewhere.
- **The end of it.** A server may refuse, end a run early, spend the budget on turns of no use, or
  ask for so much that this machine stops. What was spent and what left stays written down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fedbench.attacks import NONE as HONEST
from fedbench.cohorts import expected_size
from fedbench.config import DEFECT, RunConfig
from fedbench.deployment.owned import check_owned
from fedbench.deployment.proposing import RESULT
from fedbench.errors import FedbenchError, shown
from fedbench.faults import NONE as SOUND
from fedbench.files import on_disk, read_yaml
from fedbench.frozen import Frozen, refusing
from fedbench.models.backbones import BUILT_IN, digest
from fedbench.models.methods import METHODS
from fedbench.problems import examined, listed
from fedbench.rules import RULES
from fedbench.secure_aggregation import BadExchange, Reveal, Terms
from fedbench.wire import BadPayload
from fedbench.wire.codecs import STAGES

POLICY = Path("site/policy.yml")  #: where a site keeps it, unless it says otherwise
Names = tuple[str, ...]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_CODECS = (*STAGES, "ef", "delta")
#: what a message may ask of a site; own passes after a run are nothing that a federation needs
_KINDS = ("train", "validate", "advertise", "share", "unmask", RESULT)


class SitePolicy(Frozen):
    """What is allowed at a site. What is left out is as careful as a default can be."""

    #: SHA-256 by name, as a run names it; left out, the built-in ones
    backbones: Mapping[str, Sha256] | None = None
    #: as in configurations, without options; left out, all that fedbench has
    rules: Names | None = None
    #: the same, each stage of ``codec`` and of ``codec_down`` by itself, ``ef`` and ``delta`` too
    codecs: Names | None = None
    methods: Names | None = None  #: lora, qlora, ia3 or full; left out, all of them
    largest_payload: int = Field(default=2**30, ge=1, le=2**40)  #: bytes, in either direction
    longest_round: float = Field(default=3600, gt=0, le=1e7)  #: seconds of one turn of training
    #: examples processed in one turn at most, repeats counted
    largest_turn: int = Field(default=10**6, ge=1, le=2**40)
    #: sites in a round at least, as far as this one can see; under secure aggregation, in a sum
    minimum_cohort: int = Field(default=2, ge=1, le=10_000)
    #: whether the server may see an update of this site without the masks of others
    secure_aggregation: Literal["required", "allowed"] = "required"
    #: most that may be spent in the whole life of the data, over all runs and federations, each of
    #: which must keep examples private; none: there is no bound, and no run need be private
    epsilon: float | None = Field(default=None, gt=0, le=1e6)
    delta: float = Field(default=1e-5, gt=0, lt=1)  #: at which epsilon is told
    #: whether a server may have this site score adapters on its validation items
    validation: Literal["allowed", "refused"] = "allowed"

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        return refusing(self, self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        known: Mapping[str, Collection[str]] = {
            "rules": RULES,
            "codecs": _CODECS,
            "methods": METHODS,
        }
        for field in ("backbones", *known):
            names = getattr(self, field)
            if names is not None and not names:
                yield f"{field} is empty, which allows nothing: name one, or leave it out"
            for name in names or ():
                if name.startswith(DEFECT):
                    yield f"{field}: {shown(name)} is wrong on purpose, and never allowed at a site"
                elif field in known and name not in known[field]:
                    allowed = ", ".join(known[field])
                    yield f"{field}: {shown(name)} is not known (allowed: {allowed})"


def read_policy(path: Path) -> SitePolicy:
    """The policy in a YAML file that only this site can have written.

    Raises:
        FedbenchError: it is missing, others could write it, or it is no policy: all that is wrong.
    """
    try:
        with on_disk(path):
            check_owned(path)
    except FileNotFoundError:
        raise FedbenchError(
            f"{path} does not exist: python -m fedbench site-policy writes one to begin with."
        ) from None
    values = read_yaml(path)
    if told := examined(values, SitePolicy)[1]:
        raise FedbenchError(f"The policy {path} cannot be used: {listed(told)}.")
    return SitePolicy.model_validate(values)


def refusals(
    policy: SitePolicy,
    config: RunConfig,
    *,
    backbone: Callable[[str], str] = digest,
    sites: int,
    examples: int,
    foreseen: float | None = None,
) -> list[str]:
    """Every reason why a proposed run is not allowed, a sentence each; none: it is.

    Args:
        policy: of the site.
        config: of the run, as the server tells it: ask before it is resolved, or what it names
            is looked for first.
        backbone: tells the SHA-256 of a backbone of that name as it lies here; asked only for one
            that the policy names, so that no server has a site fetch what it likes.
        sites: in the federation.
        examples: training examples that this site holds.
        foreseen: epsilon of the site's data once the run is done
            (:func:`fedbench.deployment.lifetime.foreseen`).
    """
    sites = max(1, sites)  # of which this is one, whatever a server says
    return [
        *not_real(config),
        *_not_listed(policy, config),
        *_other_backbone(policy, config, backbone),
        *_too_few(policy, config, sites),
        *_not_private(policy, config, examples, foreseen),
        *_too_much(policy, config, sites, examples),
    ]


def not_real(config: RunConfig) -> Iterator[str]:
    """What belongs to a simulation, whatever a policy says."""
    for name, value, must in (
        ("setting", config.setting, "federated"),
        ("labels", config.labels, "true"),
        ("attack", config.attack, HONEST),
        ("hostile", config.hostile, 0),
        ("faults", config.faults, SOUND),
        ("own_passes", config.own_passes, 0),
        ("partition.noise", config.partition.noise, 0),
        ("partition.dialects", config.partition.dialects, 1),
    ):
        if value != must:
            yield f"{name} = {shown(value)} is for simulations: a real site takes {must} only."
    for name in ("task", "rule"):
        if getattr(config, name).startswith(DEFECT):
            yield f"{name} = {shown(getattr(config, name))} is wrong on purpose: no site does it."


def _not_listed(policy: SitePolicy, config: RunConfig) -> Iterator[str]:
    yield from _outside("methods", "method", [config.method], policy.methods or (*METHODS,))
    yield from _outside("rules", "rule", [config.rule], policy.rules or (*RULES,))
    for field in ("codec", "codec_down"):
        stages = getattr(config, field).split("+")
        yield from _outside("codecs", field, stages, policy.codecs or _CODECS)


def _outside(field: str, asked: str, given: Sequence[str], allowed: Sequence[str]) -> Iterator[str]:
    """Names, without their options, that are not allowed."""
    for text in given:
        name = text.partition(":")[0]
        if name not in allowed:
            yield f"{field}: the run has {asked} {shown(name)}, and allowed is {_row(allowed)}."


def _row(names: Sequence[str]) -> str:
    return ", ".join(names)


def _other_backbone(
    policy: SitePolicy, config: RunConfig, backbone: Callable[[str], str]
) -> Iterator[str]:
    allowed = policy.backbones
    if allowed is None:
        allowed = {name: digest(name) for name in BUILT_IN}
    if config.backbone not in allowed:
        yield (
            f"backbones: the run has backbone {shown(config.backbone)}, and allowed is "
            f"{_row([*allowed])}."
        )
        return
    try:
        found = backbone(config.backbone)
    except FedbenchError as error:
        yield f"backbones: {error}"
        return
    if found != allowed[config.backbone]:
        yield (
            f"backbones: {shown(config.backbone)} has the SHA-256 {shown(found)} here, and allowed "
            f"is {allowed[config.backbone]}."
        )


def _too_few(policy: SitePolicy, config: RunConfig, sites: int) -> Iterator[str]:
    least, size = policy.minimum_cohort, expected_size(config, range(sites))
    if size < least:
        yield f"minimum_cohort: a cohort of the run has {size:g} sites, and {least} are needed."
    if config.secure is None:
        if policy.secure_aggregation == "required":
            yield (
                "secure_aggregation is required, and the run has no secure: its server would see "
                "this site's update."
            )
        return
    # As fedbench.secure_round reckons it; what a message says is checked again.
    summed = min(int(size), int(config.secure.threshold * int(size) + 1e-9) + 1)
    if summed < least <= size:
        yield (
            f"minimum_cohort: with secure.threshold = {config.secure.threshold:g} a sum may be "
            f"over {summed} sites of {size:g}, and {least} are needed."
        )


def _not_private(
    policy: SitePolicy, config: RunConfig, examples: int, foreseen: float | None
) -> Iterator[str]:
    if policy.epsilon is None:
        return
    if policy.delta * examples >= 1:
        yield (
            f"delta = {policy.delta:g} promises nothing of {examples} examples, of which one may "
            f"then be shown whole: the policy needs less than 1/{examples}."
        )
    if config.private("example") is None:
        promised = "privacy of sites, which the server adds" if config.privacy else "no privacy"
        yield (
            f"epsilon: the policy allows {policy.epsilon:g} of every example, and the run has "
            f"{promised}: it needs privacy.unit = example."
        )
    elif foreseen is not None and not foreseen <= policy.epsilon:
        yield (
            f"epsilon: after this run that of the site's data would be {foreseen:.3f} at delta "
            f"{policy.delta:g}, and {policy.epsilon:g} is allowed in their whole life."
        )


def _too_much(policy: SitePolicy, config: RunConfig, sites: int, examples: int) -> Iterator[str]:
    share = expected_size(config, range(sites)) / sites
    work = config.passes / (config.rounds * share) * _counted(config, examples)
    if work > policy.largest_turn:
        yield (
            f"largest_turn: a turn of the run would process {work:,.0f} examples, and "
            f"{policy.largest_turn:,} are allowed."
        )


def _counted(config: RunConfig, examples: int) -> int:
    """Examples that a site holds, or as many as it is taken to hold, which steps follow from."""
    private = config.private("example")
    return max(examples, (private.examples or 0) if private else 0)


def check_message(
    policy: SitePolicy, config: RunConfig, header: Mapping[str, Any], size: int, examples: int
) -> None:
    """Make sure that a message of an allowed run asks for no more than the policy allows.

    What is wrong with a message by itself the site finds when it does what it is asked for.

    Args:
        policy: of the site.
        config: of the run.
        header: of the message.
        size: of the message in bytes.
        examples: training examples that this site holds.

    Raises:
        BadPayload: it is not; names the policy's field.
    """
    check_size(policy, size)
    for problem in _beyond(policy, config, header, examples):
        raise not_allowed(problem)


def check_size(policy: SitePolicy, size: int) -> None:
    """Make sure that a payload is no larger than allowed: a reply before it leaves, for example.

    Raises:
        BadPayload: it is.
    """
    if size > (most := policy.largest_payload):
        raise not_allowed(f"largest_payload is {most:,} bytes, and a payload has {size:,}")


def not_allowed(problem: str) -> BadPayload:
    """What a server is told that asks for more than the policy allows."""
    return BadPayload(f"The policy of this site does not allow it: {problem}.")


def _beyond(
    policy: SitePolicy, config: RunConfig, header: Mapping[str, Any], examples: int
) -> Iterator[str]:
    kind, passes = header.get("kind"), header.get("local_passes")
    if kind not in _KINDS:
        yield f"a message asks for {shown(kind)}, which is no part of a federation"
    if header.get("personal", False) is not False:
        yield "a message is about a personal adapter, which is no part of a federation"
    round_, end = header.get("round"), config.rounds
    # A result comes when all rounds are done, and nothing else does.
    if round_ is not None and round_ not in ([end] if kind == RESULT else range(end)):
        yield f"a message to {shown(kind)} is of round {shown(round_)}, and the run has {end}"
    if kind == "validate" and policy.validation == "refused":
        yield "validation is refused, and a message asks for scores"
    if kind == "train" and isinstance(passes, int | float):
        count = _counted(config, examples)
        if not passes * count <= policy.largest_turn:
            yield (
                f"largest_turn is {policy.largest_turn:,} examples, and a message asks for "
                f"{shown(passes)} passes over {count:,}"
            )
    summed = _summed(header)
    if summed is not None and summed < policy.minimum_cohort:
        yield (
            f"minimum_cohort is {policy.minimum_cohort}, and a sum may be over {summed} sites only"
        )


def _summed(header: Mapping[str, Any]) -> int | None:
    """Sites that a sum is over at least, as far as a message says; None if it says nothing."""
    try:
        if header.get("kind") == "advertise":
            return Terms.read(header).threshold
        if header.get("kind") == "unmask":
            return len(Reveal.read(header).arrived)
    except BadExchange:
        return None
    return None
