"""Where numbers come from: the runs behind a table or figure, and what must be said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fedbench.freshness import moved
from fedbench.report.cells import order
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

SYNTHETIC = "synthetic look-alike"
COMPUTES = {
    "nf4": "4-bit NF4 backbone",
    "nf4-dequantised": "NF4 backbone, dequantised",
}


#: answers of :func:`why_moved`: code and data stand still while a notebook runs
_known: dict[tuple[str, ...], str] = {}


def why_moved(run: Run) -> str:
    """Empty, or why a run is no longer what code, data and backbone of today would give."""
    then = [str(run.provenance.get(name)) for name in ("commit", "code", "data", "backbone")]
    key = (run.config.task, run.config.backbone, *then)
    if key not in _known:
        _known[key] = moved(run)
    return _known[key]


def titled(title: str, synthetic: bool) -> str:
    """A task's title, which says of a generated task that it is one."""
    mark = SYNTHETIC.removesuffix(" look-alike") if "look-alike" in title.lower() else SYNTHETIC
    return f"{title} ({mark})" if synthetic else title


def behind(frame: pd.DataFrame, runs: Sequence[Run]) -> list[Run]:
    """Those of ``runs`` that the frame's column ``runs`` names; all where it has none."""
    if "runs" not in frame.columns:
        return list(runs)
    named = {run_id for ids in frame["runs"].dropna() for run_id in str(ids).split()}
    return [run for run in runs if run.id in named]


def origins(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Runs grouped by how they were made: commit, command, and whether the code moved since.

    Each group names its runs by the hash of their configuration, and the hashes of its inputs.
    """
    groups: dict[str, dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: (*order(run.config), run.config.seed)):
        made = _made(run)
        group = groups.setdefault(str(made), made | {"inputs": {}, "runs": {}})
        group["runs"][run.id] = _called(run)
        inputs = ((run.config.task, "data"), (run.config.backbone, "backbone"))
        group["inputs"] |= {
            name: run.provenance[kind] for name, kind in inputs if kind in run.provenance
        }
    return list(groups.values())


def _made(run: Run) -> dict[str, Any]:
    names = ("commit", "dirty", "code", "command")
    made = {name: run.provenance[name] for name in names if name in run.provenance}
    return made | {"recorded": run.recorded, "moved": why_moved(run)}


def _called(run: Run) -> str:
    config = run.config
    parts = [config.task, config.backbone, config.method, config.setting]
    return " ".join([*parts, config.partition.label, f"seed {config.seed}"])


def remarks(runs: Sequence[Run]) -> list[str]:
    """Sentences that every table and figure drawn from ``runs`` carries."""
    said = [
        _synthetic(runs),
        *_notes(runs),
        *_subsets(runs),
        *_computes(runs),
        *_shuffled(runs),
        *_recorded(runs),
    ]
    return [sentence for sentence in said if sentence]


def face(runs: Sequence[Run]) -> str:
    """What a figure says on its face, in a few words; empty if there is nothing to say."""
    kinds = {bool(run.metrics["synthetic"]) for run in runs}
    some = "partly " if len(kinds) == 2 else ""
    parts = [f"{some}{SYNTHETIC} tasks"] if True in kinds else []
    limits = sorted({run.config.train_limit for run in runs if run.config.train_limit})
    parts += [f"training sets of at most {', '.join(map(str, limits))} examples"] if limits else []
    computes = {run.config.compute for run in runs}
    parts += [words for name, words in COMPUTES.items() if name in computes]
    parts += ["code moved since it was recorded"] if any(why_moved(run) for run in runs) else []
    return "; ".join(parts)


def _synthetic(runs: Sequence[Run]) -> str:
    titles = _titles(run for run in runs if run.metrics["synthetic"])
    said = f"{SYNTHETIC} data, never evidence for the paper's claims."
    return f"{', '.join(titles)}: {said}" if titles else ""


def _titles(runs: Iterable[Run]) -> list[str]:
    return sorted({str(run.metrics["task_title"]) for run in runs})


def _grouped(runs: Iterable[Run], said: Callable[[Run], str]) -> list[str]:
    """What is said of runs, each sentence once, after the titles of all tasks it is said of."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(said(run), []).append(run)
    return sorted(f"{', '.join(_titles(found[text]))}: {text}" for text in found if text)


def _notes(runs: Sequence[Run]) -> list[str]:
    return _grouped(runs, lambda run: str(run.metrics.get("note", "")))


def _subsets(runs: Sequence[Run]) -> list[str]:
    limited = [run for run in runs if run.config.train_limit]
    said = "training set limited to {:,} examples."
    return _grouped(limited, lambda run: said.format(run.config.train_limit))


def _computes(runs: Sequence[Run]) -> list[str]:
    pairs = sorted({(run.config.method, run.config.compute) for run in runs})
    return [f"{method}: {COMPUTES[name]}." for method, name in pairs if name in COMPUTES]


def _shuffled(runs: Sequence[Run]) -> list[str]:
    shuffled = any(run.config.labels == "shuffled" for run in runs)
    return ["Negative control: some runs were trained on shuffled labels."] if shuffled else []


def _recorded(runs: Sequence[Run]) -> list[str]:
    kept = [run for run in runs if run.recorded]
    commits = sorted({str(run.provenance.get("commit") or "unknown")[:12] for run in kept})
    said = [f"{len(kept)} runs drawn as recorded at commit {', '.join(commits)}."] if kept else []
    stale = [reason for run in runs if (reason := why_moved(run))]
    counted = [f"{stale.count(reason)} runs: {reason}" for reason in sorted(set(stale))]
    return said + counted
