"""``python -m fedbench``: thin commands over the package."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from fedbench import profiles, store
from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.files import machine_shared, read_yaml
from fedbench.paths import CHECKOUT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 2 is returned, after one sentence, for what the user can mend.

    1 says that a comparison came out otherwise: verdicts, tables, or a row done again.
    """
    parser = _parser()
    known, extra = parser.parse_known_args(arguments)
    if extra and not known.takes_fields:
        parser.error(f"unknown arguments: {' '.join(extra)}")
    try:
        _check_data_folder()
        return int(known.command(known, extra) or 0)
    except FedbenchError as error:
        print(f"fedbench: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(
            "\nfedbench: stopped; what was finished is kept, start again to go on.", file=sys.stderr
        )
        return 130
    return 0


def _check_data_folder() -> None:
    """A folder that is not there must not send anybody to the hub.

    Raises:
        FedbenchError: FEDBENCH_DATA names no folder.
    """
    given = os.environ.get("FEDBENCH_DATA")
    if given and not Path(given).is_dir():
        raise FedbenchError(
            f"FEDBENCH_DATA is {given}, which is no folder: correct it or unset it."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fedbench", description="Run, list, show and export; draw figures."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, text: str, fields: bool = False) -> argparse.ArgumentParser:
        """A subcommand; with ``fields`` it takes every field of a configuration as an option."""
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_fields() if fields else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=command, takes_fields=fields)
        return sub

    running = add("run", _run, "do one run; every configuration field is an option", fields=True)
    running.add_argument("--again", action="store_true", help="even if the repository keeps it")
    add("list", _list, "list the finished runs")
    showing = add("show", _show, "show one run")
    showing.add_argument("run", help="its id, or the beginning of it")
    auditing = add(
        "audit", _audit, "tell what a dataset holds, copies and leaks first", fields=True
    )
    auditing.add_argument("task")
    exporting = add("export", _export, "write an adapter that plain peft loads")
    exporting.add_argument("run", help="its id, or the beginning of it")
    exporting.add_argument("folder", type=Path)
    exporting.add_argument("--adapter", default="global", help="a site's name for local runs")
    options = _options_of_profiles()
    for name, command, text in (
        ("figures", _figures, "do a profile's missing runs, then its notebooks"),
        ("grid", _grid, "do a profile's missing runs"),
        ("energy", _energy, "measure a profile's energy suite, with the machine to itself"),
        ("tune", _tune, "search a profile's learning rates and passes"),
        ("record", _record, "keep a profile's finished runs and energy under data/recorded"),
        ("controls", _controls, "check the look-alikes on generator seeds never tuned on"),
        ("verify", _verify, "tell the verdict on every claim, and hold it against the record"),
        ("compare", _compare, "hold a profile's tables against those of the last commit"),
        ("reproduce", _reproduce, "do the runs behind one row of a table again"),
        ("replay", _replay, "do one recorded run of every cell again, with today's code"),
        ("report", _report, "make one HTML site of a profile's executed notebooks"),
        ("status", _status, "list which runs are fresh, stale or missing, and why"),
        ("plan", _plan, "say what a profile needs, before anything starts"),
    ):
        sub = add(name, command, text)
        sub.add_argument(
            "--profile", default="smoke", help=f"{', '.join(profiles.names())}, or a .yml file"
        )
        for option, given in options.get(name, {}).items():
            sub.add_argument(option, **given)
    return parser


def _options_of_profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """What commands about a profile take beside it, by command and option."""
    output = {"--output": {"help": "folder of tables and figures (figures/PROFILE)"}}
    accept = {"action": "store_true", "help": "make these the recorded ones"}
    reference = {"type": Path, "help": "another folder, not the last commit"}
    words = (
        "its number in the CSV, from 1, or words that only it has, such as "
        "lookalike_fpb fedbench-llama lora federated iid accuracy"
    )
    row = {
        "table": {"help": "main_results, contrasts or convergence_final"},
        "row": {"nargs": "+", "help": words},
    }
    return {
        "figures": output,
        "verify": {**output, "--accept": accept},
        "compare": {**output, "--reference": reference},
        "reproduce": {**output, **row},
        "report": {"--figures": {"type": Path, "help": "where they are (figures/PROFILE)"}},
    }


def _fields() -> str:
    lines = ["options, their defaults and what they mean:"]
    for model, prefix in ((RunConfig, ""), (PartitionConfig, "partition.")):
        said = meanings(model)
        for name, field in model.model_fields.items():
            if name != "partition":
                shown = "required" if field.is_required() else field.default
                option = f"--{prefix}{name.replace('_', '-')} ({shown})"
                lines.append(f"  {option:36} {said[name]}")
    return "\n".join([*lines, "", "--config FILE.yml gives several at once; options win over it."])


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the ``#:`` comments above or beside the fields of ``model`` say, by field."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(model).splitlines():
        code, _, comment = line.partition("#:")
        if field := re.match(r"    (\w+): ", code):
            found[field[1]] = " ".join([*above, comment.strip()]).strip().replace("``", "")
        above = [*above, comment.strip()] if comment and not code.strip() else []
    return found


def fields_from(extra: Sequence[str]) -> dict[str, Any]:
    """Configuration values from ``--field value`` pairs and ``--config FILE``.

    Values are read as YAML, except that 5e-5 is a number here too.

    Raises:
        FedbenchError: an option without a value, or a file that cannot be read.
    """
    given: dict[str, Any] = {}
    values: dict[str, Any] = {}
    words = iter(extra)
    for word in words:
        option, joined, value = word.partition("=")
        text = value if joined else next(words, None)
        if text is None or not option.startswith("--"):
            raise FedbenchError(f"Options are pairs such as --task fpb: {option} is not one.")
        name = option.removeprefix("--").replace("-", "_")
        if name == "config":
            values |= read_yaml(Path(text))
        else:
            given[name] = _value(text)
    for name, value in given.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            values[parent] = {**_mapping(parent, values.get(parent)), leaf: value}
        else:
            values[leaf] = value
    return values


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    raise FedbenchError(f"{name} = {value!r} has no parts: give --{name}.FIELD options only.")


def _value(text: str) -> Any:
    if "e" in text.lower():
        with suppress(ValueError):
            return float(text)
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _run(known: argparse.Namespace, extra: Sequence[str]) -> None:
    import torch
    from tqdm import tqdm

    from fedbench.resolving import checked
    from fedbench.running import run

    config = checked(fields_from(extra))
    torch.set_num_threads(1)
    with (
        machine_shared(),
        tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed} done, {remaining} left") as bar,
    ):
        done = run(config, lambda share: _advance(bar, 100 * share), again=known.again)
    for name in ("accuracy", "macro_f1", "n_train", "n_test", "sites_too_small", "note"):
        if done.metrics[name]:
            print(f"{name}: {done.metrics[name]}")
    print(f"Run {done.id} is in {done.source}: python -m fedbench show {done.id} tells all.")


def _advance(bar: Any, value: float) -> None:
    bar.update(value - bar.n)


_LISTED = "{:16}  {:18} {:15} {:6} {:12} {:14} {:>4}  {:>8}  {}"


def _list(known: argparse.Namespace, extra: Sequence[str]) -> None:
    columns = ("run", "task", "backbone", "method", "setting", "partition", "seed", "accuracy", "")
    runs = list(store.finished())
    if not runs:
        hint = "start with python -m fedbench run --task lookalike_fpb."
        print(f"No run is finished yet: {hint}", file=sys.stderr)
        return
    print(_LISTED.format(*columns).rstrip())
    for run in runs:
        config, kept = run.config, "recorded" if run.recorded else ""
        about = (run.id, config.task, config.backbone, config.method, config.setting)
        score = f"{run.metrics['accuracy']:.3f}"
        print(_LISTED.format(*about, config.partition.label, config.seed, score, kept).rstrip())


def _show(known: argparse.Namespace, extra: Sequence[str]) -> None:
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


def _audit(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.auditing import audit
    from fedbench.resolving import checked

    config = checked({**fields_from(extra), "task": known.task})
    print(yaml.safe_dump(audit(config), sort_keys=False, allow_unicode=True), end="")


def _export(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.exporting import export

    export(store.named(known.run), known.folder, known.adapter)
    print(f"Wrote {known.folder}.")


def _figures(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.report.build import build

    build(known.profile, known.output)
    print(f"Figures and tables are in {_figures_folder(known)}: begin with main_table.md.")


def _grid(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.grid import ensure

    print(f"{len(ensure(known.profile))} runs are there.")


def _energy(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.energy.suite import measure, where

    found = measure(known.profile)["measurements"]
    print(f"{len(found)} measurements are in {where(known.profile)}.")


def _tune(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.tuning import tune

    tune(known.profile)


def _controls(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.report.controls import FRESH_SEEDS, check_lookalikes, write_checks

    checks = check_lookalikes(known.profile, FRESH_SEEDS)
    print(checks.to_string(index=False))
    print(f"Wrote {write_checks(checks, known.profile)}.")
    if not checks["passed"].all():
        raise FedbenchError(f"{(~checks['passed']).sum()} of {len(checks)} controls failed.")


def _figures_folder(known: argparse.Namespace) -> str:
    return str(known.output or f"figures/{profiles.short_name(known.profile)}")


def _verify(known: argparse.Namespace, extra: Sequence[str]) -> int:
    from fedbench.report.verify import verify

    return 0 if verify(known.profile, Path(_figures_folder(known)), accept=known.accept) else 1


def _compare(known: argparse.Namespace, extra: Sequence[str]) -> int:
    from fedbench.report.build import find_notebooks
    from fedbench.report.compare import (
        LEFT_OUT,
        compare,
        of_a_machine,
        of_commit,
        of_folder,
        show,
    )
    from fedbench.report.site import executed

    folder = _figures_folder(known)
    if known.output is None:  # what the repository came with would be held against itself
        profiles.read_spec(known.profile)
        executed(find_notebooks(CHECKOUT / "notebooks"), known.profile)
    reference = of_folder(known.reference) if known.reference else of_commit(folder)
    here = of_folder(Path(folder))
    found = compare(reference, here)
    held = [table for table in here if not of_a_machine(table)]
    print(show(found) if found else f"The {len(held)} tables of {folder} are the reference's.")
    if len(held) < len(here):
        print(LEFT_OUT)
    return 1 if found else 0


def _reproduce(known: argparse.Namespace, extra: Sequence[str]) -> int:
    import torch

    from fedbench.report.reproduce import path_of, reproduce, row_number

    torch.set_num_threads(1)
    folder = Path(_figures_folder(known))
    row = row_number(path_of(known.table, folder), known.row)
    with machine_shared():
        found = reproduce(known.profile, known.table, row, folder)
    print(found)
    return 0 if found.within else 1


def _replay(known: argparse.Namespace, extra: Sequence[str]) -> None:
    import torch

    from fedbench.report.replay import outcome, replay

    torch.set_num_threads(1)
    with machine_shared():
        replay(known.profile)
    print(f"{outcome(known.profile)}.")


def _report(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.report.site import build_site

    print(f"Wrote {build_site(known.profile, known.figures)}: open it in a browser.")


def _status(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.report.status import status

    print("\n".join(status(known.profile)))


def _plan(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.report.plan import plan

    plan(known.profile)


def _record(known: argparse.Namespace, extra: Sequence[str]) -> None:
    from fedbench.energy import suite
    from fedbench.grid import planned

    runs = [store.load(config.id) for config in planned(known.profile)]
    energy = suite.keep(known.profile)  # before the runs, whose manifest then has its hash
    folder = CHECKOUT / "data" / "recorded" / profiles.short_name(known.profile)
    store.record(runs, folder)
    print(f"{len(runs)} runs are kept in {folder}{', and energy' if energy else ''}.")
