"""Tasks that are wrong on purpose, each in the way of a released system.

``defect-best-round:fpb`` is task ``fpb`` with that defect, for the gallery of defects and for
teaching. The task is loaded and checked like any other first. What is done to it afterwards is
past the loader, which would have taken shared groups and near repeats out of training; the audit
counts them all the same. Every name begins with ``defect-``, so that no score is taken for a
result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fedbench.hashing import sha256_json
from fedbench.tasks.counts import counted
from fedbench.tasks.defective.best_round import best_round
from fedbench.tasks.defective.leaky_split import half, tenth
from fedbench.tasks.defective.other_prompt import other_prompt
from fedbench.tasks.repeats import near_repeats
from fedbench.tasks.task import Example, Task

#: what each makes of a task's examples
DEFECTIVE: Mapping[str, Callable[[tuple[Example, ...]], tuple[Example, ...]]] = {
    "defect-leaky-tenth": tenth,
    "defect-leaky-half": half,
    "defect-other-prompt": other_prompt,
    "defect-best-round": best_round,
}


def apart(name: str) -> tuple[str, str]:
    """The defect that is asked for, if any, and the name or path of the task itself."""
    defect, _, task = name.partition(":")
    return (defect, task) if defect in DEFECTIVE else ("", name)


def spoilt(task: Task, defect: str) -> Task:
    """``task`` with a defect, which its name, title and note tell, counted anew."""
    examples = DEFECTIVE[defect](task.examples)
    others = [example.prompt for example in examples if example.split != "test"]
    tests = [example.prompt for example in examples if example.split == "test"]
    repeating = {"near_repeats": len(near_repeats(others, tests))}
    return replace(
        task,
        name=f"{defect}:{task.name}",
        title=f"{task.title} ({defect})",
        note=f"{task.note} Wrong on purpose ({defect}).".strip(),
        examples=examples,
        digest=sha256_json([defect, task.digest]),
        audit={**task.audit, **counted(examples), **repeating},
    )
