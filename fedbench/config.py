"""Frozen, validated configuration: one :class:`RunConfig` is one run, and its hash is the id."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from fedbench.errors import FedbenchError

Setting = Literal["base", "local", "federated", "centralized"]
Compute = Literal["plain", "nf4", "nf4-dequantised"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
TRAINED: tuple[Setting, ...] = ("local", "federated", "centralized")


class Frozen(BaseModel):
    """What files and users describe: fixed once read, no field that is not known, no nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PartitionConfig(Frozen):
    """Who holds what: how examples are dealt to sites."""

    #: iid: at random; dirichlet: by topic; quantity: uneven sizes; natural: by the task's owner
    kind: Literal["iid", "dirichlet", "quantity", "natural"] = "iid"
    sites: int = Field(default=8, ge=1, le=10_000)  #: how many; natural has as many as owners
    #: concentration of the Dirichlet draw, over topics (``dirichlet``) or sizes (``quantity``)
    alpha: float | None = Field(default=None, gt=0)
    #: a site with fewer training examples takes no part and is reported
    minimum: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _alpha_belongs_to_skewed_kinds(self) -> Self:
        skewed = self.kind in ("dirichlet", "quantity")
        if skewed and self.alpha is None:
            raise ValueError(f"alpha is missing: a {self.kind} partition needs one, e.g. 0.3")
        if not skewed and self.alpha is not None:
            raise ValueError(
                f"alpha has no meaning for a partition of kind {self.kind}: leave it out"
            )
        return self

    @property
    def label(self) -> str:
        """Short name for tables, such as ``dirichlet-0.3``."""
        return self.kind if self.alpha is None else f"{self.kind}-{self.alpha:g}"


class RunConfig(Frozen):
    """One fully specified experiment.

    ``passes`` is how often every example is processed in expectation, in every trained setting
    alike; ``rounds`` only says how often a site speaks to the server meanwhile.
    """

    task: str  #: name of a task, or path of a YAML file that describes one
    backbone: str = "fedbench-llama"  #: built-in name, hub id or local directory
    method: str = "lora"  #: lora, qlora, ia3 or full
    setting: Setting = "federated"  #: base, local, federated or centralized
    seed: int = Field(default=0, ge=0)  #: of every random stream
    partition: PartitionConfig = PartitionConfig()

    #: how updates become the next shared adapter, with options such as ``fedprox:mu=0.1``
    rule: str = "fedavg"
    codec: str = "fp32"  #: how tensors are written into payloads
    rounds: int = Field(default=5, ge=1)  #: how often a site speaks to the server
    #: share of sites in a cohort, rounded to whole sites, at least one
    participation: float = Field(default=1.0, gt=0, le=1)
    #: who scores a new adapter on own validation items: all sites, which takes time in proportion
    #: to their number, or the round's cohort
    validated_by: Literal["all", "cohort"] = "all"

    passes: float = Field(default=5, gt=0)  #: how often every example is processed, expected
    batch_size: int = Field(default=16, ge=1)  #: examples per step
    learning_rate: float = Field(default=2e-3, gt=0)  #: at its highest
    schedule: Literal["cosine", "constant"] = "cosine"  #: of the learning rate after the warm-up
    warmup: float = Field(default=0.05, ge=0, lt=1)  #: share of all progress
    #: adamw, sgd, or with moments in 8 bits: adamw-8bit, adamw-8bit-paged
    optimizer: str = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)  #: of the optimizer
    gradient_clip: float = Field(default=1.0, gt=0)  #: greatest norm of a step's gradient

    rank: int = Field(default=16, ge=1)  #: LoRA rank r
    alpha: float = Field(default=32, gt=0)  #: LoRA scale is alpha / r
    dropout: float = Field(default=0.0, ge=0, lt=1)  #: of the input of LoRA

    max_tokens: int = Field(default=512, ge=16)  #: longer prompts lose their beginning
    train_limit: int | None = Field(default=None, ge=1)  #: most training examples, by hash
    validation_limit: int | None = Field(default=None, ge=1)  #: most validation examples, by hash
    test_limit: int | None = Field(default=None, ge=1)  #: most test items, by hash
    generated: int = Field(default=200, ge=0)  #: test items answered by free generation
    labels: Literal["true", "shuffled"] = "true"  #: ``shuffled`` is the negative control

    device: Literal["cpu", "cuda"] = "cpu"  #: where the model is
    dtype: Literal["float32", "bfloat16"] = "float32"  #: of everything that is not quantised
    #: whether blocks are computed again for the gradient, in place of keeping what they computed
    checkpointing: bool = False
    #: how the backbone multiplies: ``plain``; ``nf4`` packed; or quantised to NF4 and dequantised
    #: once at loading. Left open, it is resolved to the method's first choice.
    compute: Compute | None = None

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
        except ValidationError as error:
            raise FedbenchError(describe(error, RunConfig)) from None

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the hash of the whole configuration.

        A field of :data:`LATER` counts only where it says something new.

        Raises:
            FedbenchError: something is still left open, so that the hash would name no run.
        """
        if self.compute is None:
            raise FedbenchError("A configuration has an id once fedbench.resolve(config) fills it.")
        values = self.model_dump(mode="json")
        told = {n: v for n, v in values.items() if n not in LATER or v != LATER[n]}
        canonical = json.dumps(told, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


#: Fields that came after runs had been recorded, with the value that those runs had without saying
#: so. It is the field's default, too, and is left out of a run's id: ids of earlier runs stay.
LATER: Mapping[str, Any] = {
    "validated_by": "all",
    "optimizer": "adamw",
    "checkpointing": False,
}


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Validate ``values`` into a :class:`RunConfig`.

    Raises:
        FedbenchError: naming every wrong field at once, what was given and what is allowed.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise FedbenchError(describe(error, RunConfig)) from None


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """All problems of a validation as one readable message."""
    return f"The configuration cannot be used: {problems(error, model)}."


def problems(error: ValidationError, model: type[BaseModel]) -> str:
    """Field, what was given and what is allowed, of every problem."""
    return "; ".join(_problem(detail, model) for detail in error.errors())


def _problem(detail: Mapping[str, Any], model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "configuration"
    if detail["type"] == "extra_forbidden":
        *parents, leaf = detail["loc"]
        allowed = _model_at(model, parents).model_fields
        near = difflib.get_close_matches(str(leaf), allowed, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{field} is not a field{hint} (allowed: {', '.join(allowed)})"
    if detail["type"] == "missing":
        return f"{field} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    given = f"{field} = {detail['input']!r}: " if detail["loc"] else ""
    return f"{given}{message[0].lower()}{message[1:]}"


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model that holds the field which ``path`` leads to."""
    for part in path:
        if part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = (annotation, *get_args(annotation))
            model = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return model
