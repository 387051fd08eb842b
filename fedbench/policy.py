"""What a configuration says of how a server deals with sites that fail in a round."""

from __future__ import annotations

from pydantic import Field

from fedbench.frozen import Frozen


class PolicyConfig(Frozen):
    """How long a server waits for a cohort, whom it asks again, and when it gives a round up.

    It is about training; whoever does not validate is left out of the mean.
    """

    #: fewest updates that a round must have, or it is abandoned: the shared adapter stays
    minimum: int = Field(default=1, ge=1, le=10_000)
    #: seconds after which a site that has not answered has failed; none: it is waited for. In a
    #: simulation they are simulated, too
    deadline: float | None = Field(default=None, gt=0, le=1e9)
    #: how often sites that failed in a round are asked again in it, with the very same message
    retries: int = Field(default=0, ge=0, le=100)
