"""What is wrong with values that somebody gave: all of it at once, each in a clause."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fedbench.errors import shown

_LONG, _MANY = 1000, 40  #: characters of a problem that is told, and problems of one message


def describe(values: Any, model: type[BaseModel]) -> str:
    """All that is wrong with ``values`` as one readable message."""
    return refusal(examined(values, model)[1])


def examined(values: Any, model: type[BaseModel], **instead: Any) -> tuple[Any, list[str]]:
    """What is left of ``values`` without what is wrong by itself, and all that is wrong.

    A field that is wrong hides how others contradict one another: these are looked at without it.

    Args:
        values: what was given.
        model: what they should be.
        instead: what stands for fields that are needed and wrong.
    """
    left, told = values, dict[str, None]()
    while error := _error(left, model):
        details = error.errors(include_url=False)
        told |= dict.fromkeys(_problem(detail, model) for detail in details)
        if not isinstance(left, Mapping):
            break
        before, sound = left, dict(left)
        for detail in details:
            sound = _without(sound, detail["loc"])
        left = {**instead, **sound}
        if left == before:
            break
    return left, list(told)


def _error(values: Any, model: type[BaseModel]) -> ValidationError | None:
    try:
        # Whatever the keys are; a constructor takes texts only.
        model.__pydantic_validator__.validate_python(values, self_instance=model.__new__(model))
    except ValidationError as error:
        return error
    return None


def _without(values: dict[str, Any], place: Sequence[int | str]) -> dict[str, Any]:
    """``values`` without what is at ``place``, or without what holds it, if nothing is there."""
    name = next((key for key in values if place and str(key) == str(place[0])), None)
    if name is None:
        return values
    inner, rest = values[name], {key: value for key, value in values.items() if key != name}
    if len(place) == 1 or not isinstance(inner, Mapping) or place[1] not in inner:
        return rest
    return {**rest, name: _without(dict(inner), place[1:])}


def refusal(told: Sequence[str]) -> str:
    """A message of problems with a configuration."""
    return f"The configuration cannot be used: {listed(told)}."


def listed(told: Sequence[str]) -> str:
    """Problems in a row, each as long as a sentence can hold it; of very many, the first."""
    short = [" ".join(one.split()) for one in told]
    short = [one if len(one) <= _LONG else f"{one[:_LONG]}..." for one in short]
    more = [f"and {len(short) - _MANY} more"] if len(short) > _MANY else []
    return "; ".join([*short[:_MANY], *more])


def _problem(detail: Mapping[str, Any], model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "configuration"
    field = field if len(field) <= 100 and field.isprintable() else shown(field)
    if detail["type"] == "extra_forbidden":
        *parents, leaf = detail["loc"]
        allowed = _model_at(model, parents).model_fields
        near = difflib.get_close_matches(str(leaf)[:100], allowed, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        return f"{field} is not a field{hint} (allowed: {', '.join(allowed)})"
    if detail["type"] == "missing":
        return f"{field} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    given = f"{field} = {shown(detail['input'])}: " if detail["loc"] else ""
    return f"{given}{message[0].lower()}{message[1:]}"


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model that holds the field which ``path`` leads to."""
    for part in path:
        if part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = (annotation, *get_args(annotation))
            model = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return model
