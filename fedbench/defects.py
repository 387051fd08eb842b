"""The gallery of defects: what is wrong on purpose, after whom, and what notices it.

The rules themselves are in :mod:`fedbench.rules.defective`, the tasks in
:mod:`fedbench.tasks.defective`, beside those that are right, because they are found in the same
ways. Whose bug each is was read in public repositories; one is ours, and says so.
Reading this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedbench.config import RunConfig
from fedbench.tasks import load_task
from fedbench.tasks.counts import asked_otherwise
from fedbench.tasks.defective import apart


@dataclass(frozen=True)
class Defect:
    """One way of being wrong."""

    name: str  #: of the rule, or what stands before the task and a colon
    after: str  #: the released system that has it, or what it is here for if none does
    does: str  #: what goes wrong, as a sentence
    right: str  #: the line as it should be, in pseudo-code
    wrong: str  #: the line as it is
    eyes: str  #: who could notice without a test, as a sentence
    rule: str = ""  #: the right rule, where it is the rule that is wrong
    best: bool = False  #: whether the best of all rounds is reported, in place of the last
    ours: bool = False  #: whether no released system is known to have it


_MANY = (
    Defect(
        name="defect-first-site",
        after="FLoRA, in the FedAvg that it compares itself with; simplified, because there the "
        "first site is scaled down by its share besides",
        does="A misspelt variable: the average keeps the first site and loses all others.",
        right="x = x + sum(n[k] * (x[k] - x) for k in sites) / sum(n)",
        wrong="x = x + (x[0] - x)",
        eyes="Perhaps not its author: nothing fails, and where it lowers a baseline, that flatters "
        "whatever is compared with it.",
        rule="fedavg",
    ),
    Defect(
        name="defect-transposed-residual",
        after="the code of FedEx-LoRA",
        does="The residual is added to the weights transposed: right for GPT-2's Conv1D layers, "
        "wrong for linear layers, and without an error where a layer is square.",
        right="W = W + alpha / r * R",
        wrong="W = W + alpha / r * R.T",
        eyes="Whoever compares W with the mean of the sites' B A. Shapes fit, so no error tells.",
        rule="fedex-lora",
    ),
    Defect(
        name="defect-residual-without-scale",
        after="FedLLM-Factory, in FedEx-LoRA",
        does="The residual is added without LoRA's scale alpha / r.",
        right="W = W + alpha / r * R",
        wrong="W = W + R",
        eyes="Nobody while alpha = r, where both lines are the same, so that a test must take "
        "another scale.",
        rule="fedex-lora",
    ),
    Defect(
        name="defect-stack-without-scale",
        after="FedLLM-Factory, in FLoRA",
        does="The stacked product moves into the weights without LoRA's scale alpha / r, so that "
        "a part of what was learned is lost in every round.",
        right="W = W + alpha / r * sum(p[k] * B[k] @ A[k] for k in sites)",
        wrong="W = W + sum(p[k] * B[k] @ A[k] for k in sites)",
        eyes="Whoever asks what a round does in which nobody learns: the model should stay where "
        "it was.",
        rule="flora",
    ),
    Defect(
        name="defect-leaky-tenth",
        after="FlowerTune's finance challenge: 29 of 304 test items of FiQA are in training",
        does="One test item in ten is trained on, in the place of a training row.",
        right="train = rows.without(test)",
        wrong="leak = test[::10]; train = rows.without(test)[len(leak):] + leak",
        eyes="Hardly anybody who looks at curves; a comparison of the two splits shows it.",
    ),
    Defect(
        name="defect-leaky-half",
        after="nobody: ours, more of the same to show the dose",
        ours=True,
        does="One test item in two is trained on, each in the place of a training row.",
        right="train = rows.without(test)",
        wrong="leak = test[::2]; train = rows.without(test)[len(leak):] + leak",
        eyes="Hardly anybody who looks at curves, unless a score that seems too good makes someone "
        "ask.",
    ),
    Defect(
        name="defect-other-prompt",
        after="FlowerTune, trained with one prompt and scored with others",
        does="Training asks in one way, scoring in another.",
        right='ask = "{text}\\nSentiment:"           # in training, and at scoring',
        wrong='ask = "Question: {text}\\nAnswer:"    # at scoring',
        eyes="Whoever reads test scores beside validation scores, which keep the prompt of "
        "training. A score that is low may be taken for a weak model.",
    ),
    Defect(
        name="defect-best-round",
        after="PFLlib",
        does="Every round is scored on the test split, and the best one is reported.",
        right="report(score(test, x[last]))",
        wrong="report(max(score(test, x[t]) for t in rounds))",
        eyes="Whoever asks which data chose the round.",
        best=True,
    ),
)
DEFECTS: Mapping[str, Defect] = {defect.name: defect for defect in _MANY}


def defect_of(config: RunConfig) -> Defect:
    """What is wrong with a configuration that is :attr:`~RunConfig.defective`."""
    return DEFECTS[apart(config.task)[0] or config.rule]


def right_of(config: RunConfig) -> RunConfig:
    """The configuration that a defective one spoils."""
    rule = defect_of(config).rule or config.rule
    return config.model_copy(update={"task": apart(config.task)[1], "rule": rule})


def noticed_by(config: RunConfig) -> str:
    """What of ours notices the defect of a configuration, found out by asking it.

    Checks of conformance that fail on its rule, and what the audit counts in its task.
    """
    rule, counts = DEFECTS.get(config.rule), _counted(config.task)
    found = [f"audit: {counts}"] if counts else []
    if rule:
        found.append(f"conformance: {', '.join(_failed(config.rule)) or 'nothing'}")
    return "; ".join(found) or "nothing"


def _failed(rule: str) -> list[str]:
    from fedbench.conformance.checks import examine
    from fedbench.conformance.subject import subject_of

    return [f.check.name for f in examine(subject_of(rule)) if f.verdict == "failed"]


def _counted(name: str) -> str:
    task = load_task(name)
    shared, otherwise = task.audit["train_test_overlap_groups"], asked_otherwise(task.examples)
    of = f"of {len(task.of_split('test')):,} test items"
    parts = [f"{shared:,} groups of the test split are outside it as well"] if shared else []
    parts += [f"{otherwise:,} {of} are asked unlike training"] if otherwise else []
    return " and ".join(parts)
