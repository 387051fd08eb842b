"""The base of everything that files and users describe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """What files and users describe: fixed once read, no field that is not known, no nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
