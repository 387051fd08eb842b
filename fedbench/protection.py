"""What a configuration says of privacy and of secure aggregation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from fedbench.frozen import Frozen, refusing


class PrivacyConfig(Frozen):
    """What is protected, and how well; see :mod:`fedbench.privacy`."""

    #: site: all that a site holds, from whoever sees the shared adapter; the server is trusted.
    #: example: each of a site's examples, from whoever sees what the site sends
    unit: Literal["site", "example"]
    clip: float = Field(gt=0, le=1e9)  #: most that a unit may add, as a norm
    #: standard deviation of the noise in units of ``clip``; left open, it is what keeps all rounds
    #: within ``epsilon``
    noise: float | None = Field(default=None, gt=0, le=1e9)
    #: budget: nothing is released beyond it
    epsilon: float | None = Field(default=None, gt=0, le=1e9)
    delta: float = Field(default=1e-5, gt=0, lt=1)  #: at which epsilon is told
    accountant: Literal["prv", "rdp"] = "prv"  #: of opacus: prv is tighter, rdp goes further
    #: where examples are private, how many each site is taken to hold: known to all, so that rate,
    #: steps, noise and epsilon follow from it, and from no private count
    examples: int | None = Field(default=None, ge=1, le=2**31, exclude_if=lambda told: told is None)

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        return refusing(self, self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        if self.noise is None and self.epsilon is None:
            yield "noise or epsilon is missing: one of them must say how much noise"
        # A public number stands for the private count of examples.
        if self.unit == "example" and self.examples is None:
            yield (
                "examples is missing: where examples are private, so is how many a site holds; say "
                "how many each is taken to hold, known to all"
            )
        if self.unit == "site" and self.examples is not None:
            yield "examples has no meaning where sites are private: leave it out"
        if self.examples is not None and self.delta * self.examples >= 1:
            yield (
                f"delta = {self.delta:g} promises nothing of {self.examples} examples, of which "
                f"one may then be shown whole: take less than 1/{self.examples}"
            )


class SecureConfig(Frozen):
    """Secure aggregation: the server learns the sum of a round's updates and no single one."""

    #: of the magnitude of every number of an update, known to all; a site with more takes no part
    bound: float = Field(default=1.0, gt=0, le=1e9)
    bits: Literal[32, 64] = 32  #: of a number on the wire
    #: most that an update may count with, such as a number of examples that no site exceeds
    greatest_weight: float = Field(default=1024.0, gt=0, le=2.0**31)
    #: share of a cohort that must not drop out, or the round is abandoned; more than half
    threshold: float = Field(default=2 / 3, gt=0.5, lt=1)
