"""From a description to a task: rows read, checked, deduplicated, split and counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fedbench.errors import FedbenchError
from fedbench.hashing import sha256_file, sha256_json
from fedbench.tasks.counts import counted
from fedbench.tasks.defective import apart, spoilt
from fedbench.tasks.examples import Draft, draft, task_labels
from fedbench.tasks.repeats import near_repeats
from fedbench.tasks.sources import Source, find_source, read_source
from fedbench.tasks.spec import LayoutSpec, TaskSpec
from fedbench.tasks.specfile import read_spec
from fedbench.tasks.splits import one_of_each, split, split_name
from fedbench.tasks.task import SPLITS, Example, Split, Task
from fedbench.tasks.topics import TOPICS


def load_task(name_or_path: str, *, data_dirs: Sequence[Path | str] | None = None) -> Task:
    """Load and check a task by name, or by the path of a YAML file that describes one.

    ``name:letter`` and ``name:text`` ask a multiple-choice task with another scoring;
    ``defect-best-round:name`` has a defect on purpose (:mod:`fedbench.tasks.defective`). Files are
    looked for in the YAML file's folder (if a path was given), ``data_dirs``, ``$FEDBENCH_DATA``
    and ``data/raw``, then on the Hugging Face hub.

    Raises:
        FedbenchError: unknown task, missing dataset, or a file, row or field that is wrong.
    """
    spec, folder = read_spec(name_or_path)
    source = find_source(spec, folder, [Path(place) for place in data_dirs or ()])
    return _asked(apart(name_or_path)[0], spec.model_dump_json(), source)


def load_own(spec: TaskSpec, file: Path) -> Task:
    """The task of a description with all rows of one file, wherever the description finds its own.

    How its columns are named and the answer is written, the first layout says, if there is one.

    Raises:
        FedbenchError: missing file, or a file, row or field that is wrong.
    """
    if not file.is_file():
        raise FedbenchError(f"The file {file} does not exist: check the path.")
    said = spec.layouts[0] if spec.layouts else LayoutSpec(files={"all": (file.name,)})
    same = any(file.suffix == Path(name).suffix for names in said.files.values() for name in names)
    told = {"files": {"all": (file.name,)}, "format": said.format if same else "", "rows": {}}
    own = {"layouts": (said.model_copy(update=told),), "hub": None, "generator": None}
    source = Source("files", 0, (("all", str(file.resolve()), sha256_file(file)),))
    return _load(spec.model_copy(update=own).model_dump_json(), source)


def is_local(name_or_path: str) -> bool:
    """Whether the rows are generated or lie on this machine, so that loading fetches nothing.

    Raises:
        FedbenchError: unknown task, or no source for it at all.
    """
    spec, folder = read_spec(name_or_path)
    return find_source(spec, folder, []).kind != "hub"


@lru_cache(maxsize=16)
def _asked(defect: str, spec_json: str, source: Source) -> Task:
    task = _load(spec_json, source)
    return spoilt(task, defect) if defect else task


@lru_cache(maxsize=16)
def _load(spec_json: str, source: Source) -> Task:
    spec = TaskSpec.model_validate_json(spec_json)
    said, rows, hashes = read_source(spec, source)
    answer = said.answer or spec.answer
    drafts = [item for row in rows if (item := draft(spec, answer, row)) is not None]
    distinct, removed = one_of_each(drafts)
    placed = split(spec, distinct)
    kept, repeating = _without_repeats(spec, placed)
    examples = _examples(spec, kept)
    _check(spec, examples)
    counts = {
        "rows": len(rows),
        "dropped_duplicate_options": len(rows) - len(drafts),
        **removed,
        "removed_overlap": len(distinct) - len(placed),
        "near_repeats": repeating,
    }
    return Task(
        name=spec.name,
        title=spec.title,
        domain=spec.domain,
        scoring=spec.scoring,
        labels=task_labels(spec, drafts),
        synthetic=spec.synthetic,
        split=said.split or split_name(spec, distinct),
        licence=spec.licence or "not stated",
        note=" ".join(text for text in (said.caveat, spec.note, _mark(spec, repeating)) if text),
        examples=examples,
        digest=_digest(spec, examples),
        family=spec.generator.name if spec.generator else "",
        sources=hashes,
        audit={**counts, **counted(examples)},
        told_topics=spec.topic.kind != "column" or not _is_private(spec),
    )


def _is_private(spec: TaskSpec) -> bool:
    """Whether the rows are somebody's, who has not said that others may read them."""
    return not spec.generator and (not spec.licence or "private" in spec.licence.casefold())


def _without_repeats(
    spec: TaskSpec, placed: Sequence[tuple[Split, Draft]]
) -> tuple[list[tuple[Split, Draft]], int]:
    """The items without those that nearly repeat a test item, unless the spec keeps them.

    Raises:
        FedbenchError: there are some, and the spec does not say what to do with them.
    """
    tests = [item for part, item in placed if part == "test"]
    others = [item for part, item in placed if part != "test"]
    found = near_repeats([item.prompt for item in others], [item.prompt for item in tests])
    if found and spec.near_repeats == "refuse":
        mine, other = next(iter(found.items()))
        raise FedbenchError(
            f"task {spec.name}: training examples nearly repeat a test item ({len(found)} of them, "
            f"first {others[mine].where}, which repeats {tests[other].where}): write near_repeats: "
            "drop into the task's file to leave them out, or near_repeats: keep to train on them "
            "and have every table say so."
        )
    if spec.near_repeats == "keep":
        return list(placed), len(found)
    dropped = {others[place].id for place in found}
    return [(part, item) for part, item in placed if item.id not in dropped], len(found)


def _mark(spec: TaskSpec, repeating: int) -> str:
    """What every table must say of a leak that the task's file accepts."""
    if spec.near_repeats != "keep" or not repeating:
        return ""
    return f"{repeating:,} training examples nearly repeat a test item and were kept."


def _examples(spec: TaskSpec, placed: Sequence[tuple[Split, Draft]]) -> tuple[Example, ...]:
    topics = TOPICS[spec.topic.kind](
        spec.topic, [item.topic for _, item in placed], [item.label for _, item in placed]
    )
    return tuple(
        Example(
            id=item.id,
            split=part,
            prompt=item.prompt,
            blind_prompt=item.blind_prompt,
            choices=item.choices,
            gold=item.gold,
            label=item.label,
            group=item.group,
            cluster=item.cluster,
            topic=topic,
            attribute=item.attribute,
        )
        for (part, item), topic in zip(placed, topics, strict=True)
    )


def _check(spec: TaskSpec, examples: Sequence[Example]) -> None:
    for name in SPLITS:
        if not any(example.split == name for example in examples):
            raise FedbenchError(
                f"task {spec.name}: the {name} split is empty; the files hold too few rows, "
                "or the task's file names the wrong ones."
            )


def _digest(spec: TaskSpec, examples: Sequence[Example]) -> str:
    seen = [
        [e.id, e.split, e.blind_prompt, e.gold, e.group, e.cluster, e.topic, e.attribute]
        for e in examples
    ]
    return sha256_json([spec.name, spec.scoring, seen])
