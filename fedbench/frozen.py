"""The base of everything that files and users describe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """What files and users describe: fixed once read, no field that is not known, no nan."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def refusing(model: Model, problems: Iterable[str]) -> Model:
    """``model``, unless there are problems: for a validator that tells all of them at once.

    Raises:
        ValueError: with all of them.
    """
    if told := "; ".join(problems):
        raise ValueError(told)
    return model
