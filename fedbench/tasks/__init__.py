"""Datasets as tasks: one YAML file each, loaded, checked, split and counted."""

from fedbench.tasks.load import is_local, load_task
from fedbench.tasks.specfile import check_name, located
from fedbench.tasks.task import SPLITS, Example, Scoring, Split, Task

__all__ = [
    "SPLITS",
    "Example",
    "Scoring",
    "Split",
    "Task",
    "check_name",
    "is_local",
    "load_task",
    "located",
]
