"""The claims as ``data/claims.yml`` states them: sentence, source, and the test that decides each.

The file is read by people first. What it says of tests and margins is all that a verdict depends
on beside the runs, so its :func:`digest` stands beside every recorded verdict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from fedbench.config import SETTINGS
from fedbench.errors import FedbenchError
from fedbench.files import read_yaml
from fedbench.frozen import Frozen
from fedbench.hashing import sha256_json, short
from fedbench.paths import shipped
from fedbench.problems import describe

FILE = "claims.yml"

Resource = Literal["energy", "peak_memory", "adapter_bytes"]
Evidence = Literal["measured", "counted", "estimated"]


class Rule(Frozen):
    """What every non-inferiority is decided by, in fractions."""

    least_gain: float = Field(gt=0)  #: that the lower bound of (reference − base) must reach
    points: float = Field(gt=0)  #: the margin is never wider than this,
    share: float = Field(gt=0, lt=1)  #: nor than this share of the gain

    def margin(self, gain: float) -> float:
        """How much may be lost where ``gain`` was won."""
        return min(self.points, self.share * gain)


class Part(Frozen):
    """One thing that is decided by itself: ``of`` against ``to``, two settings or two methods."""

    name: str
    test: Literal["non-inferiority", "superiority", "saving"]
    metric: Literal["accuracy", "accuracy_own", Resource]
    of: str
    to: str
    evidence: Evidence | None = None  #: the kind that decides a saving

    @property
    def of_settings(self) -> bool:
        """Whether settings are compared, as opposed to methods."""
        return self.of in SETTINGS

    @model_validator(mode="after")
    def _a_saving_names_its_evidence(self) -> Self:
        resource = not self.metric.startswith("accuracy")
        if {self.test == "saving", self.evidence is not None} != {resource}:
            raise ValueError("a saving, and nothing else, has a resource and names its evidence")
        return self

    @model_validator(mode="after")
    def _settings_are_not_compared_with_methods(self) -> Self:
        if (self.of in SETTINGS) != (self.to in SETTINGS):
            raise ValueError("of and to must be two settings, or two methods")
        return self


class Claim(Frozen):
    """A claim of the paper, and how to come by its verdict."""

    id: str
    sentence: str
    source: str
    table: str
    parts: tuple[Part, ...]
    command: str
    time: str
    hardware: str


class Claims(Frozen):
    """The whole file."""

    rule: Rule
    claims: tuple[Claim, ...]


def read_claims(path: Path | None = None) -> Claims:
    """The claims of ``path``, by default those of the repository.

    Raises:
        FedbenchError: the file is missing, or all that is wrong with it in one message.
    """
    path = path or shipped(FILE)
    values = read_yaml(path)
    try:
        return Claims.model_validate(values)
    except ValidationError:
        raise FedbenchError(f"{path}: {describe(values, Claims)}") from None


def digest(stated: Claims) -> str:
    """Hash of the tests and margins; sentences, times and hardware do not count."""
    tests = {claim.id: [part.model_dump() for part in claim.parts] for claim in stated.claims}
    return short(sha256_json({"rule": stated.rule.model_dump(), "tests": tests}))
