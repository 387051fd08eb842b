"""Frozen, validated configuration: one :class:`RunConfig` is one run, and its hash is the id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from fedbench.errors import FedbenchError
from fedbench.frozen import Frozen, refusing
from fedbench.policy import PolicyConfig
from fedbench.problems import describe, examined, refusal
from fedbench.protection import PrivacyConfig, SecureConfig

DEFECT = "defect-"  #: what the name of a rule or task begins with that is wrong on purpose
Setting = Literal["base", "local", "federated", "centralized"]
Compute = Literal["plain", "nf4", "nf4-dequantised"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
TRAINED: tuple[Setting, ...] = ("local", "federated", "centralized")


class PartitionConfig(Frozen):
    """Who holds what, and in what sites differ besides."""

    #: iid: at random; dirichlet: by topic; label: by answer; quantity: uneven sizes; natural: by
    #: the task's owner
    kind: Literal["iid", "dirichlet", "label", "quantity", "natural"] = "iid"
    sites: int = Field(default=8, ge=1, le=10_000)  #: how many; natural has as many as owners
    #: concentration of the Dirichlet draw, over topics (``dirichlet``), answers (``label``) or
    #: sizes (``quantity``)
    alpha: float | None = Field(default=None, gt=0, le=1e9)
    #: a site with fewer training examples takes no part and is reported
    minimum: int = Field(default=4, ge=1, le=2**31)
    #: share of the training answers of a noisy site that are wrong; validation and test stay true
    noise: float = Field(default=0.0, ge=0, lt=1)
    noisy: float = Field(default=0.5, gt=0, le=1)  #: share of sites that are noisy, if any are
    #: ways of wording, one to a site in turn, of a task that has them; 1: all speak alike. A test
    #: item is asked in the wording of the site that holds it, in every setting
    dialects: int = Field(default=1, ge=1, le=1000)
    #: share of the fastest site's local work that the slowest one does in a federation; the others
    #: are between. A site that trains alone, and the one that holds everything, do all their work
    slowest: float = Field(default=1.0, gt=0, le=1)
    #: LoRA ranks that sites hold, one to a site in turn; none: all hold the run's ``rank``
    ranks: tuple[Annotated[int, Field(ge=1, le=2**16)], ...] = ()
    #: number of a site that takes no part in the federation: it holds what it would hold, and
    #: neither trains nor validates
    without: int | None = Field(default=None, ge=0, lt=10_000)

    @field_validator("ranks", mode="before")
    @classmethod
    def _ranks_may_be_written_with_commas(cls, value: Any) -> Any:
        written = str(value) if isinstance(value, int) else value
        return written.split(",") if isinstance(written, str) else written

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        return refusing(self, self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        if not self.noise and self.noisy != type(self).model_fields["noisy"].default:
            yield "noisy has no meaning without noise: leave it out, or say how much"
        if self.without is not None and self.without >= self.sites:
            yield f"without = {self.without}: the last of {self.sites} sites is {self.sites - 1}"
        if self.without is not None and self.sites == 1:
            yield "without leaves nobody of a single site: take more sites"
        # Leaving a site out leaves the others as fast as they are.
        if self.without is not None and self.slowest < 1:
            yield "without and slowest have no meaning together: leave one of them out"
        skewed = self.kind in ("dirichlet", "label", "quantity")
        if skewed and self.alpha is None:
            yield f"alpha is missing: a {self.kind} partition needs one, e.g. 0.3"
        if not skewed and self.alpha is not None:
            yield f"alpha has no meaning for a partition of kind {self.kind}: leave it out"

    @property
    def whole(self) -> PartitionConfig:
        """The same with every site taking part."""
        return self.model_copy(update={"without": None})

    @property
    def label(self) -> str:
        """Short name for tables, such as ``dirichlet-0.3`` or ``iid+noise-0.4``."""
        kind = self.kind if self.alpha is None else f"{self.kind}-{self.alpha:g}"
        told = {name: value for name, value in self if value != LATER_OF_SITES.get(name, value)}
        return "+".join([kind, *(f"{name}-{_digits(value)}" for name, value in told.items())])

    def seen_by(self, setting: Setting) -> PartitionConfig:
        """What a run in ``setting`` depends on of this partition: runs alike share one form.

        Settings of one site depend on who holds what only where that changes the examples
        themselves (:data:`REWRITTEN`).
        """
        if setting in REWRITTEN:
            told = self._rewriting(setting)
            if not told:
                return ONE_SITE
            # Which sites are large enough to train decides which of them are noisy.
            about = ("noisy", "minimum") if "noise" in told else ()
            kept = {"kind", "sites", "alpha", *told, *about}
            return PartitionConfig(**{name: value for name, value in self if name in kept})
        # A site alone does all its passes.
        return self.model_copy(update={"slowest": 1.0} if setting == "local" else {})

    def rewrites(self, setting: Setting) -> bool:
        """Whether it changes the examples that a run in ``setting``, one with one site, reads."""
        return bool(self._rewriting(setting))

    def _rewriting(self, setting: Setting) -> list[str]:
        return [n for n in REWRITTEN.get(setting, ()) if getattr(self, n) != _usual(n)]

    def told(self) -> dict[str, Any]:
        """Its fields as a plain value, without those of :data:`LATER_OF_SITES` that say nothing."""
        return _told(self, LATER_OF_SITES)


class RunConfig(Frozen):
    """One fully specified experiment.

    ``passes`` is how often every example is processed in expectation, in every trained setting
    alike; ``rounds`` only says how often a site speaks to the server meanwhile.
    """

    task: str  #: name of a task, or path of a YAML file that describes one
    backbone: str = "fedbench-llama"  #: built-in name, hub id or local directory
    method: str = "lora"  #: lora, qlora, ia3 or full
    setting: Setting = "federated"  #: base, local, federated or centralized
    seed: int = Field(default=0, ge=0, lt=2**63)  #: of every random stream
    partition: PartitionConfig = PartitionConfig()

    #: how updates become the next shared adapter, with options such as ``fedprox:mu=0.1``
    rule: str = "fedavg"
    #: how updates are written into payloads, such as ``int8`` or ``ef+top-k:share=0.01``
    codec: str = "fp32"
    codec_down: str = "fp32"  #: the same of what sites are told, such as ``delta+int8``
    #: most bytes that may cross the wire, both ways: no further round begins that would exceed it;
    #: the first one is done whatever it takes
    byte_budget: int | None = Field(default=None, ge=1, lt=2**63)
    #: what hostile sites do, such as ``sign-flip`` or ``backdoor:share=0.5+scaling:factor=8``
    attack: str = "none"
    #: share of sites that are hostile, rounded to whole sites, at least one if any are
    hostile: float = Field(default=0.0, ge=0, lt=0.5)
    #: what befalls sites that train in a round, and how often, such as ``silent:rate=0.1`` or
    #: ``late:rate=0.2,seconds=90+crash:rate=0.05``
    faults: str = "none"
    policy: PolicyConfig = PolicyConfig()  #: how the server deals with sites that fail
    rounds: int = Field(default=5, ge=1, le=10**6)  #: how often a site speaks to the server
    #: share of sites in a cohort, rounded to whole sites, at least one
    participation: float = Field(default=1.0, gt=0, le=1)
    #: fixed: cohorts of one size; poisson: each site takes part with this probability by itself
    sampling: Literal["fixed", "poisson"] = "fixed"
    privacy: PrivacyConfig | None = None  #: differential privacy; none: nothing is promised
    secure: SecureConfig | None = None  #: secure aggregation; none: the server sees each update
    #: who scores a new adapter on own validation items: all sites, which takes time in proportion
    #: to their number, or the round's cohort
    validated_by: Literal["all", "cohort"] = "all"

    #: how often every example is processed, expected
    passes: float = Field(default=5, gt=0, le=1e6)
    #: of these passes, those that every site does alone after the last round, on its own adapter
    own_passes: int = Field(default=0, ge=0, le=10**6)
    batch_size: int = Field(default=16, ge=1, le=2**20)  #: examples per step
    learning_rate: float = Field(default=2e-3, gt=0, le=1e6)  #: at its highest
    schedule: Literal["cosine", "constant"] = "cosine"  #: of the learning rate after the warm-up
    warmup: float = Field(default=0.05, ge=0, lt=1)  #: share of all progress
    #: adamw, sgd, or with moments in 8 bits: adamw-8bit, adamw-8bit-paged
    optimizer: str = "adamw"
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)  #: of the optimizer
    gradient_clip: float = Field(default=1.0, gt=0, le=1e9)  #: greatest norm of a step's gradient

    rank: int = Field(default=16, ge=1, le=2**16)  #: LoRA rank r
    alpha: float = Field(default=32, gt=0, le=1e9)  #: LoRA scale is alpha / r
    dropout: float = Field(default=0.0, ge=0, lt=1)  #: of the input of LoRA

    max_tokens: int = Field(default=512, ge=16, le=2**20)  #: longer prompts lose their beginning
    #: most training examples, by hash
    train_limit: int | None = Field(default=None, ge=1, le=2**31)
    #: most validation examples, by hash
    validation_limit: int | None = Field(default=None, ge=1, le=2**31)
    test_limit: int | None = Field(default=None, ge=1, le=2**31)  #: most test items, by hash
    generated: int = Field(default=200, ge=0, le=2**31)  #: test items answered by free generation
    labels: Literal["true", "shuffled"] = "true"  #: ``shuffled`` is the negative control

    device: Literal["cpu", "cuda"] = "cpu"  #: where the model is
    dtype: Literal["float32", "bfloat16"] = "float32"  #: of everything that is not quantised
    #: whether blocks are computed again for the gradient, in place of keeping what they computed
    checkpointing: bool = False
    #: where the blocks of the backbone lie: on the device, beside it until they are needed, or
    #: spread over all GPUs; offloaded training saves memory under ``checkpointing`` only
    placement: Literal["whole", "offloaded", "sharded"] = "whole"
    #: how the backbone multiplies: ``plain``; ``nf4`` packed; or quantised to NF4 and dequantised
    #: once at loading. Left open, it is resolved to the method's first choice.
    compute: Compute | None = None

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        return refusing(self, self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        if self.partition.ranks and max(self.partition.ranks) > self.rank:
            yield (
                f"partition.ranks: {max(self.partition.ranks)} is more than the rank of the shared "
                f"adapter, which is {self.rank}"
            )
        # A federation comes before own passes.
        if self.own_passes and self.setting != "federated":
            yield f"own_passes has no meaning in the setting {self.setting}: leave it out"
        if self.own_passes >= self.passes:
            yield (
                f"own_passes = {self.own_passes}: it must be less than passes, which is "
                f"{self.passes:g}"
            )
        if self.partition.without is not None and self.setting != "federated":
            yield (
                f"partition.without has no meaning in the setting {self.setting}, where no sites "
                "train together: leave it out"
            )

    @field_validator("labels", mode="before")
    @classmethod
    def _yaml_true_is_the_word(cls, value: Any) -> Any:
        return "true" if value is True else value

    def __init__(self, **values: Any) -> None:
        """Validate; problems are told as :func:`parse_config` tells them.

        Raises:
            FedbenchError: naming every wrong field at once.
        """
        try:
            super().__init__(**values)
        except ValidationError:
            raise FedbenchError(describe(values, RunConfig)) from None

    @property
    def rule_and_own_passes(self) -> str:
        """What tables call the rule: with what sites do alone afterwards, if anything."""
        return f"{self.rule}, {self.own_passes} own passes" if self.own_passes else self.rule

    def private(self, unit: Literal["site", "example"]) -> PrivacyConfig | None:
        """What is promised to each ``unit``; None for nothing."""
        return self.privacy if self.privacy is not None and self.privacy.unit == unit else None

    def rank_at(self, site: str) -> int:
        """The LoRA rank that a site holds; sites are named by their number, as ``site-03``."""
        held = self.partition.ranks
        return held[int(site.rpartition("-")[2]) % len(held)] if held else self.rank

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the hash of the whole configuration.

        A field of :data:`LATER` counts only where it says something new.

        Raises:
            FedbenchError: something is still left open, so that the hash would name no run.
        """
        if self.compute is None:
            raise FedbenchError("A configuration has an id once fedbench.resolve(config) fills it.")
        told = _told(self, LATER) | {"partition": self.partition.told()}
        canonical = json.dumps(told, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def defective(self) -> bool:
        """Whether it is wrong on purpose, so that no score of it is a result."""
        return self.task.startswith(DEFECT) or self.rule.startswith(DEFECT)


#: Fields that came after runs had been recorded, with the value that those runs had without saying
#: so. It is the field's default, too, and is left out of a run's id: ids of earlier runs stay.
LATER: Mapping[str, Any] = {
    "validated_by": "all",
    "optimizer": "adamw",
    "checkpointing": False,
    "placement": "whole",
    "own_passes": 0,
    "codec_down": "fp32",
    "byte_budget": None,
    "sampling": "fixed",
    "privacy": None,
    "secure": None,
    "attack": "none",
    "hostile": 0.0,
    "faults": "none",
    "policy": PolicyConfig(),
}

#: The same of the fields of a partition.
LATER_OF_SITES: Mapping[str, Any] = {
    "noise": 0.0,
    "noisy": 0.5,
    "dialects": 1,
    "slowest": 1.0,
    "ranks": (),
    "without": None,
}


#: settings that have one site, each with the fields of a partition that change what it reads:
#: noise is in training answers, and ``base`` reads test items only
REWRITTEN: Mapping[Setting, tuple[str, ...]] = {
    "base": ("dialects",),
    "centralized": ("noise", "dialects"),
}

ONE_SITE = PartitionConfig(kind="iid", sites=1)  #: that holds everything


def _usual(name: str) -> Any:
    return PartitionConfig.model_fields[name].default


def _told(model: BaseModel, later: Mapping[str, Any]) -> dict[str, Any]:
    values = model.model_dump(mode="json")
    return {n: v for n, v in values.items() if n not in later or getattr(model, n) != later[n]}


def _digits(value: float | tuple[int, ...]) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}"


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Validate ``values`` into a :class:`RunConfig`.

    Raises:
        FedbenchError: naming every wrong field at once, what was given and what is allowed.
    """
    if told := examined(values, RunConfig, task="")[1]:
        raise FedbenchError(refusal(told))
    return RunConfig.model_validate(values)
