"""Where numbers come from: the runs behind a table or figure, and what must be said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fedbench.freshness import moved
from fedbench.report.cells import order, partition_names
from fedbench.report.replay import outcome as replayed
from fedbench.report.searches import at_an_edge
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

SYNTHETIC = "synthetic look-alike"
COMPUTES = {
    "nf4": "4-bit NF4 backbone",
    "nf4-dequantised": "NF4 backbone, dequantised",
}
_SPLITS = {"train": "training", "validation": "validation", "test": "test"}
_ENERGY = "not measured: these runs shared the machine; their operations are counted"
_SEEN_BEFORE = (
    "The built-in backbones were pretrained on text that includes sentiment statements composed by "
    "this project in the prompt format of this task."
)

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
    """Runs grouped by how they were made: commit, command, versions, machine, and what moved since.

    Each group names its runs by the hash of their configuration, and the hashes of its inputs.
    """
    groups: dict[str, dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: (*order(run.config), run.config.seed)):
        made = _made(run)
        group = groups.setdefault(str(made), made | {"inputs": {}, "runs": {}})
        group["runs"][run.id] = _took(run)
        group["inputs"] |= _inputs(run)
    return list(groups.values())


def _made(run: Run) -> dict[str, Any]:
    made = _known_of(run, "commit", "dirty", "code", "command", "versions", "hardware")
    return made | {"energy": _ENERGY, "recorded": run.recorded, "moved": why_moved(run)}


def _inputs(run: Run) -> dict[str, Any]:
    """Task and backbone by the hash of their content, with files and revision where known."""
    return {
        run.config.task: _known_of(run, "data", "sources"),
        run.config.backbone: _known_of(run, "backbone", "backbone_revision"),
    }


def _took(run: Run) -> dict[str, Any]:
    """What the run was, when it began, how long it took, and its counted operations."""
    config = run.config
    parts = [config.task, config.backbone, config.method, config.setting]
    called = " ".join([*parts, config.partition.label, f"seed {config.seed}"])
    counted = {name: run.metrics[name] for name in ("flops",) if name in run.metrics}
    return {"run": called} | _known_of(run, "started", "seconds") | counted


def _known_of(run: Run, *names: str) -> dict[str, Any]:
    return {name: run.provenance[name] for name in names if name in run.provenance}


def remarks(runs: Sequence[Run]) -> list[str]:
    """Sentences that every table and figure drawn from ``runs`` carries."""
    said = [
        _synthetic(runs),
        *_notes(runs),
        *_seen_before(runs),
        *_subsets(runs),
        *_cut(runs),
        *_too_small(runs),
        *_participation(runs),
        *_edges(runs),
        *(f"{words}." for words in _computes(runs)),
        *_shuffled(runs),
        *_recorded(runs),
    ]
    return [sentence for sentence in said if sentence]


def face(runs: Sequence[Run]) -> str:
    """What a figure says on its face, in a few words; empty if there is nothing to say."""
    kinds = {bool(run.metrics["synthetic"]) for run in runs}
    some = "partly " if len(kinds) == 2 else ""
    parts = [f"{some}{SYNTHETIC} tasks"] if True in kinds else []
    for split, words in _SPLITS.items():
        sizes = sorted({run.metrics[f"n_{split}"] for run in runs if _is_subset(run, split)})
        parts += [f"{words} sets limited to {_listed(sizes)} examples"] if sizes else []
    parts += _mostly_cut(runs)
    parts += _computes(runs)
    parts += sorted({reason for run in runs if (reason := why_moved(run))})
    parts += _replayed(runs)
    return "; ".join(parts)


def _synthetic(runs: Sequence[Run]) -> str:
    titles = _titles(run for run in runs if run.metrics["synthetic"])
    said = f"{SYNTHETIC} data, never evidence for the paper's claims."
    return f"{', '.join(titles)}: {said}" if titles else ""


def _listed(sizes: Iterable[int]) -> str:
    return " or ".join(f"{size:,}" for size in sizes)


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


def _seen_before(runs: Sequence[Run]) -> list[str]:
    return _grouped(filter(_saw_the_form, runs), lambda run: _SEEN_BEFORE)


def _saw_the_form(run: Run) -> bool:
    """Whether a built-in backbone meets a real task on sentiment."""
    metrics = run.metrics
    sentiment = metrics["domain"] == "finance" and metrics["scoring"] == "label"
    return run.config.backbone.startswith("fedbench-") and sentiment and not metrics["synthetic"]


def _subsets(runs: Sequence[Run]) -> list[str]:
    return [sentence for split in _SPLITS for sentence in _subsets_of(runs, split)]


def _subsets_of(runs: Sequence[Run], split: str) -> list[str]:
    def said(run: Run) -> str:
        kept, whole = run.metrics[f"n_{split}"], run.metrics["audit"]["splits"][split]
        return f"{_SPLITS[split]} set limited to {kept:,} of {whole:,} examples."

    return _grouped((run for run in runs if _is_subset(run, split)), said)


def _is_subset(run: Run, split: str) -> bool:
    """Whether a limit of the configuration really left something out."""
    return bool(run.metrics[f"n_{split}"] < run.metrics["audit"]["splits"][split])


def _cut(runs: Sequence[Run]) -> list[str]:
    return _grouped(runs, _said_of_prompts)


def _said_of_prompts(run: Run) -> str:
    counts = run.metrics.get("cut_prompts", {})  # runs recorded by early versions lack it
    cut = [f"{counts[split]:,} {words}" for split, words in _SPLITS.items() if counts.get(split)]
    limit = f"{run.config.max_tokens} tokens of {run.config.backbone}"
    return (
        f"{' and '.join(cut)} prompts lost their beginning to the limit of {limit}." if cut else ""
    )


def _mostly_cut(runs: Sequence[Run]) -> list[str]:
    """Tasks of which most test prompts were cut: their scores say little of the questions."""
    titles = _titles(run for run in runs if 2 * _cut_tests(run) > run.metrics["n_test"])
    return [f"most prompts of {', '.join(titles)} lost their beginning"] if titles else []


def _cut_tests(run: Run) -> int:
    return int(run.metrics.get("cut_prompts", {}).get("test", 0))


def _too_small(runs: Sequence[Run]) -> list[str]:
    """Sites that did not train, per task and partition, each once per seed.

    A site that was left out on purpose is none of them.
    """
    dealt = [run.config.partition.whole for run in runs]
    told = (
        run.config.model_copy(update={"partition": partition})
        for run, partition in zip(runs, dealt, strict=True)
    )
    names = partition_names(told)
    found: dict[tuple[str, str], set[tuple[int, str, int]]] = {}
    for run, partition in zip(runs, dealt, strict=True):
        left_out = run.config.partition.without
        idle = [site for n, site in enumerate(run.sites) if not site["trained"] and n != left_out]
        for site in idle:
            about = (str(run.metrics["task_title"]), names[partition])
            missed = (run.config.seed, str(site["site"]), int(site["n_train"]))
            found.setdefault(about, set()).add(missed)
    return [_said_of_sites(*about, sorted(missed)) for about, missed in sorted(found.items())]


def _said_of_sites(title: str, partition: str, missed: Sequence[tuple[int, str, int]]) -> str:
    sites = f"{len(missed)} site{'s' * (len(missed) > 1)}"
    names = ", ".join(f"{site} (seed {seed})" for seed, site, _ in missed)
    unused = sum(examples for _, _, examples in missed)
    return (
        f"{title}, {partition}: {sites} too small to train: {names}, "
        f"their {unused:,} examples are not used."
    )


def _participation(runs: Sequence[Run]) -> list[str]:
    shares = sorted({run.config.participation for run in runs if run.config.participation < 1})
    listed = " or ".join(f"{share:g}" for share in shares)
    said = f"Participation {listed} is rounded to whole sites, at least one in every round."
    return [said] if shares else []


def _edges(runs: Sequence[Run]) -> list[str]:
    said = at_an_edge(runs)
    return [f"{said[0].upper()}{said[1:]}."] if said else []


def _computes(runs: Sequence[Run]) -> list[str]:
    pairs = sorted({(run.config.method, run.config.compute) for run in runs})
    return [f"{method}: {COMPUTES[name]}" for method, name in pairs if name in COMPUTES]


def _shuffled(runs: Sequence[Run]) -> list[str]:
    shuffled = any(run.config.labels == "shuffled" for run in runs)
    return ["Negative control: some runs were trained on shuffled labels."] if shuffled else []


def _recorded(runs: Sequence[Run]) -> list[str]:
    kept = [run for run in runs if run.recorded]
    commits = sorted({str(run.provenance.get("commit") or "unknown")[:12] for run in kept})
    said = [f"{len(kept)} runs drawn as recorded at commit {', '.join(commits)}."] if kept else []
    stale = [reason for run in runs if (reason := why_moved(run))]
    counted = [f"{stale.count(reason)} runs: {reason}." for reason in sorted(set(stale))]
    return said + counted + [f"{outcome}." for outcome in _replayed(runs)]


def _replayed(runs: Sequence[Run]) -> list[str]:
    """What came of recorded runs that moved code did again, by profile."""
    profiles = sorted({run.source.name for run in runs if run.recorded and why_moved(run)})
    return [outcome for profile in profiles if (outcome := replayed(profile))]
