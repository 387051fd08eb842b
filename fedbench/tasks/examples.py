"""One row of a dataset becomes one example; every refusal names the row and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedbench.errors import FedbenchError, shown
from fedbench.hashing import sha256_json, sha256_text, short
from fedbench.tasks.answers import ANSWERS, LETTERS
from fedbench.tasks.sources import Row
from fedbench.tasks.spec import AnswerSpec, Role, TaskSpec, fields_of

OPTIONS = "options"  #: in a template: the options, one lettered line each


@dataclass(frozen=True)
class Draft:
    """An example without its split and topic."""

    role: Role
    where: str
    prompt: str
    blind_prompt: str
    choices: tuple[str, ...]
    gold: int
    label: str
    group: str
    cluster: str
    topic: str  #: the column named by the spec's topic, raw
    attribute: str

    @property
    def id(self) -> str:
        """Hash of what is asked: prompt and choices."""
        return short(sha256_json([self.prompt, self.choices]))


def draft(spec: TaskSpec, answer: AnswerSpec, row: Row) -> Draft | None:
    """The example of a row, or None if the spec drops it for its duplicate options.

    Raises:
        FedbenchError: a column or a label is missing, unknown or out of range.
    """
    options = _options(spec, row)
    if options is None:
        return None
    shown = options or tuple(dict.fromkeys(spec.labels.values()))
    gold = _gold(spec, answer, row, shown)
    values = _template_values(spec, row, options)
    template = spec.prompt[spec.scoring]
    blind = spec.blind_prompt.get(spec.scoring, template.rsplit("\n", 1)[-1])
    group = _key(row, spec.group or _asked(template))
    return Draft(
        role=row.role,
        where=row.where,
        prompt=template.format_map(values),
        blind_prompt=blind.format_map(values),
        choices=tuple(f" {text}" for text in _scored(spec, shown)),
        gold=gold,
        label=LETTERS[gold] if spec.options else shown[gold],
        group=group,
        cluster=_key(row, spec.cluster) if spec.cluster else group,
        topic=_optional(row, spec.topic.field),
        attribute=_optional(row, spec.attribute),
    )


def task_labels(spec: TaskSpec, drafts: Sequence[Draft]) -> tuple[str, ...]:
    """Every class: the spec's labels, or a letter per option."""
    if not spec.options:
        return tuple(dict.fromkeys(spec.labels.values()))
    return tuple(LETTERS[: max(len(item.choices) for item in drafts)])


def column(row: Row, name: str) -> Any:
    """The value of a column that must be there and filled.

    Raises:
        FedbenchError: naming the row and the column. Columns that are there are counted and not
            named: where a header line is missing, they are texts of the first row.
    """
    if name not in row.values:
        raise FedbenchError(
            f"{row.where}: there is no column {shown(name)} among its {len(row.values)}; rename it "
            "in the task's file, add the line of names if the file has none, or fetch the file "
            "again."
        )
    value = row.values[name]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise FedbenchError(
            f"{row.where}: the column {shown(name)} is empty; complete the row or remove it."
        )
    return value


def _clean(value: object) -> str:
    return " ".join(str(value).split())


def _optional(row: Row, name: str) -> str:
    value = column(row, name) if name and name not in row.values else row.values.get(name)
    return "" if value is None else _clean(value)


def _asked(template: str) -> tuple[str, ...]:
    return tuple(name for name in fields_of(template) if name != OPTIONS)


def _key(row: Row, names: Sequence[str]) -> str:
    return short(sha256_text("\x1f".join(_clean(column(row, name)).casefold() for name in names)))


def _options(spec: TaskSpec, row: Row) -> tuple[str, ...] | None:
    """The options in the order given; none for a task without options; None to drop the row."""
    found = [column(row, name) for name in spec.options]
    if len(found) == 1:
        # By key, because an answer names the key: "A" is not whatever happens to stand first.
        held = found[0]
        listed = [held[key] for key in sorted(held)] if isinstance(held, Mapping) else held
        found = listed if isinstance(listed, list) else []
        if any(value is None or not _clean(value) for value in found) or not found:
            raise FedbenchError(f"{row.where}: an option is empty; complete the row or remove it.")
    if spec.options and not 2 <= len(found) <= len(LETTERS):
        raise FedbenchError(
            f"{row.where}: a question has {len(found)} options, and 2 to {len(LETTERS)} have "
            "letters; correct the row or remove it."
        )
    options = tuple(_clean(value) for value in found)
    if len({option.casefold() for option in options}) == len(options):
        return options
    if spec.on_duplicate_options == "drop":
        return None
    raise FedbenchError(
        f"{row.where}: two options are the same; correct the row, or let the task's file say "
        "on_duplicate_options: drop."
    )


def _gold(spec: TaskSpec, answer: AnswerSpec, row: Row, shown: Sequence[str]) -> int:
    value = column(row, answer.field)
    try:
        return ANSWERS[answer.kind](answer, value, shown, spec.labels)
    except ValueError as error:
        raise FedbenchError(
            f"{row.where}, column {answer.field!r}: {error}; correct the row, or the task's file."
        ) from None


def _template_values(spec: TaskSpec, row: Row, options: Sequence[str]) -> dict[str, str]:
    template = spec.prompt[spec.scoring]
    values = {name: _clean(column(row, name)) for name in _asked(template)}
    lines = (f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
    return {**values, OPTIONS: "\n".join(lines)}


def _scored(spec: TaskSpec, shown: Sequence[str]) -> Sequence[str]:
    return LETTERS[: len(shown)] if spec.scoring == "letter" else shown
