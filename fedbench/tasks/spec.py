"""A dataset described in one YAML file: where it is, how it is asked, how it is split."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from fedbench.errors import shown
from fedbench.frozen import Frozen
from fedbench.tasks.answers import ANSWERS
from fedbench.tasks.task import Scoring
from fedbench.tasks.topics import TOPICS

Role = Literal["train", "validation", "test", "all"]


class AnswerSpec(Frozen):
    """Which column holds the right answer, and how it is written there."""

    field: str
    kind: str = "label"  #: a name in ``ANSWERS``: label, letter, index, text or score
    first: int = 1  #: kind index: the number of the first option
    thresholds: tuple[float, float] | None = None  #: kind score: between them is the middle label

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _one_of(kind, ANSWERS)

    @model_validator(mode="after")
    def _score_needs_thresholds(self) -> Self:
        if self.kind == "score" and self.thresholds is None:
            raise ValueError("kind score needs thresholds, e.g. [-0.1, 0.1]")
        if self.thresholds is not None and self.thresholds[0] > self.thresholds[1]:
            raise ValueError("thresholds: the first must not be above the second")
        return self


class TopicSpec(Frozen):
    """What a Dirichlet partition draws over."""

    kind: str = "label"  #: a name in ``TOPICS``: label, column or words
    field: str = ""  #: column of the topic, or of the text whose words are clustered
    clusters: int = Field(default=20, ge=2)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _one_of(kind, TOPICS)

    @model_validator(mode="after")
    def _field_is_named(self) -> Self:
        if self.kind != "label" and not self.field:
            raise ValueError(f"kind {self.kind} needs a field")
        return self


class SourceSpec(Frozen):
    """What every source may say of its rows."""

    split: str = ""  #: name of the split; empty for ``given``, or for the name of our own split
    caveat: str = ""  #: what every table must say when the rows came from this source
    rename: Mapping[str, str] = {}  #: the source's column -> the column of prompt and answer
    answer: AnswerSpec | None = None  #: where the source writes the answer in its own way


class LayoutSpec(SourceSpec):
    """One way in which the dataset lies on a disk; the first whose files exist is taken."""

    files: Mapping[Role, tuple[str, ...]]
    format: str = ""  #: a name in ``PARSERS``; empty: by the file's ending
    encoding: str = "utf-8"
    rows: Mapping[str, int] = {}  #: by file, how many the release has: fewer are a file cut short

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, files: Any) -> Any:
        return _tuples(files)

    @field_validator("files")
    @classmethod
    def _complete(cls, files: Mapping[Role, tuple[str, ...]]) -> Mapping[Role, tuple[str, ...]]:
        return _complete_roles(files)

    @field_validator("files")
    @classmethod
    def _below(cls, files: Mapping[Role, tuple[str, ...]]) -> Mapping[Role, tuple[str, ...]]:
        for path in (PurePath(name) for names in files.values() for name in names):
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(
                    f"{path} leaves the folder of the dataset: put the file beside the task's file "
                    "or below it, or set FEDBENCH_DATA to the folder that holds the dataset's own"
                )
        return files

    @model_validator(mode="after")
    def _rows_name_its_files(self) -> Self:
        known = {name for names in self.files.values() for name in names}
        if odd := sorted(set(self.rows) - known):
            raise ValueError(f"rows names {odd[0]}, which is none of its files ({_listed(known)})")
        return self


class HubSpec(SourceSpec):
    """The dataset on the Hugging Face hub, as data files: no script of it is ever run."""

    #: owner and name; never a path of this machine
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    #: full commit hash; null refuses to download until someone names one
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    config: str | None = None
    splits: Mapping[Role, tuple[str, ...]]

    @field_validator("splits", mode="before")
    @classmethod
    def _one_or_many(cls, splits: Any) -> Any:
        return _tuples(splits)

    @field_validator("splits")
    @classmethod
    def _complete(cls, splits: Mapping[Role, tuple[str, ...]]) -> Mapping[Role, tuple[str, ...]]:
        return _complete_roles(splits)


class GeneratorSpec(SourceSpec):
    """A look-alike that the project generates itself."""

    name: str
    knobs: Mapping[str, int | float | str]


class Fractions(Frozen):
    """Shares of our own split, by hash of the group."""

    train: float = Field(default=0.7, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self

    @property
    def label(self) -> str:
        """Name of the split, such as ``hash-70-10-20``."""
        shares = (self.train, self.validation, self.test)
        return "hash-" + "-".join(f"{100 * share:g}" for share in shares)


class TaskSpec(Frozen):
    """Everything that the YAML file of a dataset says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    domain: str
    citation: str = ""
    licence: str = ""
    note: str = ""
    synthetic: bool = False

    scoring: Scoring = "label"
    prompt: Mapping[Scoring, str]  #: one template, or one per scoring
    blind_prompt: Mapping[Scoring, str] = {}  #: without the question; default: the last line
    labels: Mapping[str, str] = {}  #: as written in the data -> class name
    options: tuple[str, ...] = ()  #: columns of the options, or one column that holds them all
    on_duplicate_options: Literal["refuse", "drop"] = "refuse"
    answer: AnswerSpec
    group: tuple[str, ...] = ()  #: columns that make two rows the same item; default: the prompt's
    cluster: tuple[str, ...] = ()  #: columns whose items rise and fall together; default: group
    topic: TopicSpec = TopicSpec()
    attribute: str = ""  #: column of the natural owner
    #: training examples that nearly repeat a test item: refuse the task, drop them, or keep them
    #: and say so in every table
    near_repeats: Literal["refuse", "drop", "keep"] = "refuse"

    fractions: Fractions = Fractions()
    validation: float = Field(default=0.1, gt=0, lt=1)  #: carved from a given training split
    layouts: tuple[LayoutSpec, ...] = ()
    hub: HubSpec | None = None
    generator: GeneratorSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: Any) -> Any:
        return _expand(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = _problems_of(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def fields_of(template: str) -> tuple[str, ...]:
    """Names between braces in a template, in order."""
    return tuple(name for _, name, _, _ in _parts(template) if name is not None)


def _parts(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"a prompt has braces without a partner ({error})") from None


def _is_plain(template: str) -> bool:
    """Whether nothing but columns is named between braces: no parts, no widths, no conversions."""
    parts = _parts(template)
    plain = all(not width and not how for _, _, width, how in parts)
    return plain and not any(set(".[") & set(name) for _, name, _, _ in parts if name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _one_of(name: str, registry: Mapping[str, Any]) -> str:
    if name not in registry:
        raise ValueError(f"{shown(name)} is not known (use one of {', '.join(sorted(registry))})")
    return name


def _tuples(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {key: (value,) if isinstance(value, str) else value for key, value in values.items()}


def _complete_roles(roles: Mapping[Role, tuple[str, ...]]) -> Mapping[Role, tuple[str, ...]]:
    if set(roles) != {"all"} and not {"train", "test"} <= set(roles) - {"all"}:
        raise ValueError("name either all, or train and test (and validation if there is one)")
    if "all" in roles and len(roles) > 1:
        raise ValueError("all cannot stand beside train, validation or test")
    return roles


def _expand(values: Mapping[str, Any]) -> dict[str, Any]:
    """Short forms a person may write, in their full form."""
    full = dict(values)
    scoring = str(full.setdefault("scoring", "text" if "options" in full else "label"))
    for key in ("prompt", "blind_prompt"):
        if isinstance(full.get(key), str):
            full[key] = {scoring: full[key]}
    labels = full.get("labels")
    if isinstance(labels, list | Mapping) and any(isinstance(label, bool) for label in labels):
        raise ValueError("labels: YAML reads yes, no, on and off as true and false: quote them")
    if isinstance(full.get("labels"), list):
        full["labels"] = {str(label): str(label) for label in full["labels"]}
    elif isinstance(full.get("labels"), Mapping):
        full["labels"] = {str(key): str(label) for key, label in full["labels"].items()}
    for key in ("options", "group", "cluster"):
        if isinstance(full.get(key), str):
            full[key] = [full[key]]
    if "options" in full and "topic" not in full and isinstance(full.get("prompt"), Mapping):
        # Letters of options are no topics: questions are clustered by their words.
        asked = fields_of(str(full["prompt"].get(scoring, "")))
        full["topic"] = {"kind": "words", "field": asked[0] if asked else ""}
    return full


def _problems_of(spec: TaskSpec) -> list[str]:
    templates = (*spec.prompt.items(), *spec.blind_prompt.items())
    problems = [
        f"prompt.{scoring} ends in white space: choices bring their own leading space"
        for scoring, template in templates
        if template != template.rstrip()
    ]
    problems += [
        f"prompt.{scoring} has more than names of columns between braces: leave out . [ ! and :"
        for scoring, template in templates
        if not _is_plain(template)
    ]
    problems += [f"prompt.{scoring} is empty" for scoring, template in templates if not template]
    if spec.scoring not in spec.prompt:
        problems.append(f"prompt has no template for scoring {spec.scoring}")
    elif spec.scoring not in spec.blind_prompt and "\n" not in spec.prompt[spec.scoring]:
        problems.append("blind_prompt is missing: a prompt of one line needs one")
    if spec.scoring == "label" and len(set(spec.labels.values())) < 2:
        problems.append("labels must name at least two classes")
    classes = list(dict.fromkeys(spec.labels.values()))
    if any(text != " ".join(text.split()) or not text for text in classes):
        problems.append("labels: a class is named by text without white space around or doubled")
    if spec.answer.kind == "score" and len(spec.labels) != 3:
        problems.append("labels must name three classes for answer.kind score: low, middle, high")
    if spec.scoring == "letter" and "options" not in fields_of(spec.prompt.get("letter", "")):
        problems.append(
            "prompt.letter does not show {options}: without them a letter means nothing"
        )
    if spec.scoring != "label" and not spec.options:
        problems.append(f"options is missing: scoring {spec.scoring} needs the columns of options")
    if spec.options and spec.answer.kind == "label":
        problems.append(
            "answer.kind is missing: beside options it says how the answer is written "
            "(letter, index or text)"
        )
    if spec.options and spec.topic.kind == "label":
        problems.append(
            "topic.kind label means letters of options, which are no topics: name a column, or "
            "{kind: words, field: ...} to cluster questions by their words"
        )
    if not (spec.layouts or spec.hub or spec.generator):
        problems.append("layouts is missing: say in which files the dataset is")
    return problems
