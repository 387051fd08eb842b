"""What each command does: one function per command, thin, over the package.

A function takes what the command line said, and options that it does not know: those of a
configuration's fields. It returns an exit status, or nothing for 0.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fedbench import profiles, store
from fedbench.errors import FedbenchError
from fedbench.locks import DATA_LOCK, locked, machine_shared
from fedbench.options import fields_from
from fedbench.paths import CHECKOUT, within
from fedbench.telling import of_the_wire

_MAIN_TABLE = "main_table.md"


def run(known: Namespace, extra: Sequence[str]) -> None:
    """Do one run."""
    import torch
    from tqdm import tqdm

    from fedbench.deployment.ways import way_of
    from fedbench.resolving import checked
    from fedbench.running import run as do

    said: list[str] = []
    way = way_of(known.engine, said.append)
    config = checked(fields_from(extra))
    torch.set_num_threads(1)
    with (
        machine_shared(),
        tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed} done, {remaining} left") as bar,
    ):
        done = do(config, lambda share: _advance(bar, 100 * share), again=known.again, way=way)
    for name in ("accuracy", "macro_f1", "n_train", "n_test", "sites_too_small", "note"):
        if done.metrics[name]:
            print(f"{name}: {done.metrics[name]}")
    if (left_out := config.partition.without) is not None:
        print(f"without: site {left_out}, whose examples were not trained on")
    if len(done.adapters) > 1:
        print(f"scores: mean over {len(done.adapters)} adapters, each asked all test items")
    for line in [*of_the_wire(done), *said]:
        print(line)
    if done.config.defective:
        print("WRONG ON PURPOSE: no score of this run is a result.")
    print(f"Run {done.id} is in {done.source}: python -m fedbench show {done.id} tells all.")


def _advance(bar: Any, value: float) -> None:
    bar.update(value - bar.n)


_LISTED = "{:16}  {:18} {:15} {:6} {:12} {:20} {:14} {:>4}  {:>8}  {}"


def list_runs(known: Namespace, extra: Sequence[str]) -> None:
    """List the finished runs."""
    columns = (
        *("run", "task", "backbone", "method", "setting", "rule", "partition", "seed", "accuracy"),
        "",
    )
    runs = list(store.finished())
    if not runs:
        hint = "start with python -m fedbench run --task lookalike_fpb."
        print(f"No run is finished yet: {hint}", file=sys.stderr)
        return
    print(_LISTED.format(*columns).rstrip())
    for run in runs:
        config, kept = run.config, "recorded" if run.recorded else ""
        trained = (config.method, config.setting, config.rule_and_own_passes)
        about = (run.id, config.task, config.backbone, *trained)
        score = f"{run.metrics['accuracy']:.3f}"
        print(_LISTED.format(*about, config.partition.label, config.seed, score, kept).rstrip())


def show(known: Namespace, extra: Sequence[str]) -> None:
    """Show one run."""
    _print(store.named(known.run))


def _print(run: store.Run) -> None:
    shown = {
        "id": run.id,
        "config": run.config.model_dump(mode="json"),
        "metrics": dict(run.metrics),
        "provenance": dict(run.provenance),
        "folder": str(run.source),
    }
    print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), end="")


def audit(known: Namespace, extra: Sequence[str]) -> None:
    """Tell what a dataset holds."""
    from fedbench.auditing import audit as tell
    from fedbench.resolving import checked

    config = checked({**fields_from(extra), "task": known.task})
    print(yaml.safe_dump(tell(config), sort_keys=False, allow_unicode=True), end="")


def export(known: Namespace, extra: Sequence[str]) -> None:
    """Write an adapter as plain peft loads it."""
    from fedbench.exporting import export as write

    write(store.named(known.run), known.folder, known.adapter)
    print(f"Wrote {known.folder}.")


def keys(known: Namespace, extra: Sequence[str]) -> None:
    """Make the keys of a server or of a site, or show what a file of them is."""
    from fedbench.deployment import handing, issuing

    if known.kind == "show":
        print(handing.of_file(known.path))
    elif known.kind == "site":
        print(handing.of_site(*issuing.issue_site(known.folder, known.name)))
    elif known.renew:
        hosts = issuing.renew_server(known.folder, known.host, known.days)
        print(handing.of_renewal(known.folder, hosts))
    else:
        hosts = issuing.issue_server(known.folder, known.host, known.days)
        print(handing.of_server(known.folder, hosts))


def server(known: Namespace, extra: Sequence[str]) -> None:
    """Run a federation whose sites are on other machines."""
    from fedbench.deployment.extra import check_flower

    check_flower()
    from fedbench.deployment.at_server import coordinator, serve
    from fedbench.deployment.run_file import read_run_file

    ready = coordinator(*read_run_file(known.config), plain_text=known.plain_text)
    print(f"The adapter of the federation is in {serve(ready, _said)}.")


def site(known: Namespace, extra: Sequence[str]) -> None:
    """Take part in a federation."""
    from fedbench.deployment.extra import check_flower

    check_flower()
    from fedbench.deployment.addresses import NO_ADDRESS, is_address
    from fedbench.deployment.at_site import take_part
    from fedbench.deployment.consenting import house
    from fedbench.deployment.keys import authority, key_file, site_key
    from fedbench.deployment.node import Entrance
    from fedbench.deployment.policy import read_policy

    if not is_address(known.server):
        raise FedbenchError(f"--server {known.server}: {NO_ADDRESS}.")
    key = known.key or key_file(Path("keys"))
    ready = house(known.task, known.data, read_policy(known.policy), site_key(key), known.folder)
    entrance = Entrance(known.server)
    if not known.plain_text:
        authority(known.authority)
        entrance = Entrance(known.server, known.authority, key)
    print(take_part(ready, entrance, _said))


def site_policy(known: Namespace, extra: Sequence[str]) -> None:
    """Write a policy to begin with."""
    from fedbench.deployment.policy import POLICY
    from fedbench.deployment.policy_text import write_policy

    write_policy(POLICY)
    print(f"Wrote {POLICY}: read it, and change what this site wants otherwise.")


def _said(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def figures(known: Namespace, extra: Sequence[str]) -> None:
    """Do missing runs, then draw."""
    from fedbench.report.build import build

    build(known.profile, known.output)
    folder = Path(_figures_folder(known))
    tables = sorted(path.name for path in folder.glob("*.md"))
    first = _MAIN_TABLE if _MAIN_TABLE in tables else " or ".join(tables)
    print(f"Figures and tables are in {folder}: begin with {first}.")


def grid(known: Namespace, extra: Sequence[str]) -> None:
    """Do missing runs."""
    from fedbench.grid import ensure

    print(f"{len(ensure(known.profile))} runs are there.")


def energy(known: Namespace, extra: Sequence[str]) -> None:
    """Measure the energy suite."""
    from fedbench.energy.suite import measure, where

    found = measure(known.profile)["measurements"]
    print(f"{len(found)} measurements are in {where(known.profile)}.")


def tune(known: Namespace, extra: Sequence[str]) -> None:
    """Search learning rates and passes."""
    from fedbench.tuning import tune as search

    search(known.profile, missing=known.missing)


def controls(known: Namespace, extra: Sequence[str]) -> None:
    """Check the look-alikes."""
    from fedbench.report.controls import FRESH_SEEDS, check_lookalikes, write_checks

    checks = check_lookalikes(known.profile, FRESH_SEEDS)
    print(checks.to_string(index=False))
    print(f"Wrote {write_checks(checks, known.profile)}.")
    if not checks["passed"].all():
        raise FedbenchError(f"{(~checks['passed']).sum()} of {len(checks)} controls failed.")


def computes(known: Namespace, extra: Sequence[str]) -> None:
    """Compare runs that differ in how they are computed."""
    from fedbench.report.computes import CAPTION, compare_computes
    from fedbench.report.writing import write_table

    found, behind = compare_computes(known.profile, known.device)
    folder = Path(_figures_folder(known))
    print(write_table(found, "computes", folder, behind, CAPTION))
    print(f"Wrote {folder / 'computes.csv'}.")


def conformance(known: Namespace, extra: Sequence[str]) -> int:
    """Check rules, or anybody's aggregator."""
    from fedbench.conformance.checks import Finding, examine
    from fedbench.conformance.subject import subject_of
    from fedbench.conformance.table import lines, overview
    from fedbench.rules import RULES

    names = [known.subject] if known.subject else list(RULES)
    found: dict[str, Sequence[Finding]] = {name: examine(subject_of(name)) for name in names}
    shown = lines(found[known.subject]) if known.subject else overview(found)
    print("\n".join(shown))
    return int(any(f.verdict == "failed" for findings in found.values() for f in findings))


def doctor(known: Namespace, extra: Sequence[str]) -> int:
    """Check what runs rely on."""
    from fedbench.doctor import examine, told
    from fedbench.doctor.finding import FAIL

    found = examine()
    print("\n".join(told(found)))
    return int(any(one.state == FAIL for one in found))


def gc(known: Namespace, extra: Sequence[str]) -> None:
    """Remove what can be computed again, or tell what would go."""
    from fedbench.collecting import collect, told

    found = collect(days=known.days, stale=known.stale, remove=known.yes)
    print("\n".join(told(found, removed=known.yes)))


def site_log(known: Namespace, extra: Sequence[str]) -> int:
    """Check or show what left a site."""
    from fedbench.deployment.record import entries, table, told, verify
    from fedbench.errors import Damaged

    try:
        found = verify(known.file, known.head)
        shown = table(entries(known.file)) if known.action == "show" else []
    except Damaged as error:
        print(f"fedbench: {error}", file=sys.stderr)
        return 1
    print("\n".join([*shown, told(found)]))
    return 0


def rules(known: Namespace, extra: Sequence[str]) -> None:
    """List the rules."""
    from fedbench.report.writing import markdown_lines
    from fedbench.rules.validity import refusals, table

    print(markdown_lines(table()))
    print("\n".join(refusals()))


def _figures_folder(known: Namespace) -> str:
    return str(known.output or f"figures/{profiles.short_name(known.profile)}")


def verify(known: Namespace, extra: Sequence[str]) -> int:
    """Tell the verdicts."""
    from fedbench.report.verify import verify as decide

    return 0 if decide(known.profile, Path(_figures_folder(known)), accept=known.accept) else 1


def compare(known: Namespace, extra: Sequence[str]) -> int:
    """Hold tables against a reference."""
    from fedbench.report.build import find_notebooks
    from fedbench.report.compare import (
        LEFT_OUT,
        moved,
        of_a_machine,
        of_commit,
        of_folder,
    )
    from fedbench.report.compare import compare as held_against
    from fedbench.report.compare import show as told
    from fedbench.report.site import executed

    folder = _figures_folder(known)
    if known.output is None:  # what the repository came with would be held against itself
        spec = profiles.read_spec(known.profile)
        executed(find_notebooks(within(CHECKOUT, spec.notebooks)), known.profile)
    reference = of_folder(known.reference) if known.reference else of_commit(folder)
    here = of_folder(Path(folder))
    found = held_against(reference, here)
    held = [table for table in here if not of_a_machine(table)]
    print(told(found) if found else f"The {len(held)} tables of {folder} are the reference's.")
    if not found and (others := moved(reference, here)):
        print(
            f"{others} of them not byte for byte: scores moved within their own intervals, as on "
            "another kind of processor, where training is as another repeat."
        )
    if len(held) < len(here):
        print(LEFT_OUT)
    return 1 if found else 0


def reproduce(known: Namespace, extra: Sequence[str]) -> int:
    """Do the runs behind a row again."""
    import torch

    from fedbench.report.reproduce import path_of, row_number
    from fedbench.report.reproduce import reproduce as again

    torch.set_num_threads(1)
    folder = Path(_figures_folder(known))
    row = row_number(path_of(known.table, folder), known.row)
    with machine_shared():
        found = again(known.profile, known.table, row, folder)
    print(found)
    return 0 if found.within else 1


def replay(known: Namespace, extra: Sequence[str]) -> None:
    """Do recorded runs again."""
    import torch

    from fedbench.report.replay import outcome
    from fedbench.report.replay import replay as again

    torch.set_num_threads(1)
    with machine_shared():
        again(known.profile)
    print(f"{outcome(known.profile)}.")


def report(known: Namespace, extra: Sequence[str]) -> None:
    """Make the HTML site."""
    from fedbench.report.site import build_site

    print(f"Wrote {build_site(known.profile, known.figures)}: open it in a browser.")


def status(known: Namespace, extra: Sequence[str]) -> None:
    """List what is fresh, stale or missing."""
    from fedbench.report.status import status as told

    print("\n".join(told(known.profile)))


def plan(known: Namespace, extra: Sequence[str]) -> None:
    """Say what a profile needs."""
    from fedbench.report.plan import plan as foresee

    foresee(known.profile)


def record(known: Namespace, extra: Sequence[str]) -> None:
    """Keep finished runs and energy."""
    from fedbench.energy import suite
    from fedbench.grid import planned

    runs = [store.load(config.id) for config in planned(known.profile)]
    folder = CHECKOUT / "data" / "recorded" / profiles.short_name(known.profile)
    with locked(CHECKOUT / "data" / DATA_LOCK):
        energy = suite.keep(known.profile)  # before the runs, whose manifest then has its hash
        store.record(runs, folder)
    print(f"{len(runs)} runs are kept in {folder}{', and energy' if energy else ''}.")
