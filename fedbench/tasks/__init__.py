"""Datasets as tasks: one YAML file each, loaded, checked, split and counted."""

from fedbench.tasks.load import is_local, load_task
from fedbench.tasks.task import SPLITS, Example, Scoring, Split, Task

__all__ = ["SPLITS", "Example", "Scoring", "Split", "Task", "is_local", "load_task"]
