"""How fast fedbench is: ``python -m fedbench.bench``; ``profile`` shows where its time goes.

Without ``--record`` the result goes to build/bench/; with it, it is kept in data/bench/ as a row
that later versions are drawn beside, in figures/bench/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fedbench.errors import FedbenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and turn an expected error into one line."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except FedbenchError as error:
        print(f"fedbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfedbench: stopped; nothing was recorded.", file=sys.stderr)
        return 130
    return 0


def _bench(options: argparse.Namespace) -> None:
    from fedbench.bench.measuring import measure
    from fedbench.bench.plan import STANDARD
    from fedbench.bench.showing import finish
    from fedbench.locks import machine_alone

    with machine_alone():
        record = measure(STANDARD)
    print(finish(record, keep=options.record))


def _profile(options: argparse.Namespace) -> None:
    from fedbench.bench.showing import profiled

    print(profiled())


def _draw(options: argparse.Namespace) -> None:
    from fedbench.bench.showing import drawn
    from fedbench.bench.systems_table import FIGURES, recorded, save

    for name, record in recorded().items():
        save(record, name, FIGURES)
    print(drawn())


def _systems(options: argparse.Namespace) -> None:
    from fedbench.bench.large import LARGE, known
    from fedbench.bench.systems import Load, measure
    from fedbench.bench.systems_table import FIGURES, RECORDED, file_of, merged, save
    from fedbench.energy.meters import CodeCarbonMeter
    from fedbench.files import read_json, write_json
    from fedbench.locks import machine_alone
    from fedbench.models.backbones import check_device
    from fedbench.paths import home

    check_device("cuda")
    names = options.backbone or list(LARGE)
    shapes = {name: known(name) for name in names}
    folder = drawn = home() / "systems"
    with machine_alone():
        record = measure(
            Load(names, beside=names[:1]),
            shapes,
            CodeCarbonMeter("DEU"),  # joules only are told, which no country changes
            lambda record: write_json(file_of(record, folder), record),
        )
    if options.record:  # once, and whole: what was recorded before is not lost to a part
        folder, drawn = RECORDED, FIGURES
        path = file_of(record, folder)
        record = {**merged(read_json(path) if path.exists() else {}, record)}
        write_json(path, record)
    path = file_of(record, folder)
    print(save(record, path.stem, drawn))
    print(f"Record: {path}\nTables: {drawn}")


def _alone(options: argparse.Namespace) -> None:
    from fedbench.bench.alone import run_alone

    run_alone(options.folder, options.who, options.shape, *options.numbers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fedbench.bench", description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep the result in data/bench/")
    parser.set_defaults(run=_bench)
    commands = parser.add_subparsers(metavar="{profile,draw,systems}")
    profile = commands.add_parser("profile", help="show where the time of a run and a step goes")
    profile.set_defaults(run=_profile)
    draw = commands.add_parser("draw", help="draw the recorded versions again; measures nothing")
    draw.set_defaults(run=_draw)
    systems = commands.add_parser("systems", help="measure backbones of 7 and 8 billion on a GPU")
    systems.add_argument("backbone", nargs="*", help="a Hugging Face id whose shape is known (all)")
    systems.set_defaults(run=_systems)
    alone = commands.add_parser("alone")  # what the benchmark starts as a process of its own
    alone.set_defaults(run=_alone)
    for name in ("folder", "who", "shape"):
        alone.add_argument(name)
    alone.add_argument("numbers", nargs=4, type=int, metavar="NUMBER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
