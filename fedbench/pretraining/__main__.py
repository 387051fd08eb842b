"""Rebuild the two backbones: ``python -m fedbench.pretraining``.

``train NAME`` continues one backbone, ``export NAME`` writes what it has learnt so far, and
``check`` compares the kept corpus with the tasks: with the look-alikes, and where
``$FEDBENCH_DATA`` names the folder of the datasets, with these.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from fedbench.errors import FedbenchError

WORK = Path("build/pretraining")
BACKBONES = Path("data/backbones")
# Both backbones train at once, so each keeps to one core.  Freed memory stays with the process:
# giving it back and taking it again at every step halves the speed on a virtual machine.
_KEPT_BYTES = str(2**32)
_TRAINING_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
    "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and turn an expected error into one line."""
    options = _parser().parse_args(arguments)
    try:
        _dispatch(options)
    except FedbenchError as error:
        return _stopped(f"error: {error}", 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _stopped(f"error: {error.filename or 'A file'} could not be used ({reason}).", 1)
    except KeyboardInterrupt:
        return _stopped(
            "Stopped; what was finished stays, and the same command goes on from there.", 130
        )
    return 0


def _dispatch(options: argparse.Namespace) -> None:
    if options.command == "train":
        train(options.name)
    elif options.command == "export":
        export(options.name, options.to / options.name)
    elif options.command == "check":
        check()
    else:
        rebuild()


def _stopped(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


def rebuild() -> None:
    """Build the corpus, check it, train both backbones side by side and export them."""
    from fedbench.pretraining.prepare import prepare
    from fedbench.pretraining.recipes import RECIPES

    prepare(WORK)
    check()
    trainings = [_start_training(name) for name in RECIPES]
    try:
        exits = [training.wait() for training in trainings]
    finally:
        for training in trainings:
            training.terminate()
    if any(exits):
        raise FedbenchError("A training stopped early; the same command resumes it.")
    for name in RECIPES:
        export(name, BACKBONES / name)


def train(name: str) -> None:
    """Train one backbone to its last step, from its last checkpoint if there is one."""
    from fedbench.locks import locked
    from fedbench.pretraining.export import open_backbone
    from fedbench.pretraining.pretrain import continue_run

    with locked(WORK / "runs" / f"{name}.lock", wait=False):
        continue_run(open_backbone(name, WORK))


def _start_training(name: str) -> subprocess.Popen[bytes]:
    """Train in a process of its own, because its settings are read when a process starts."""
    command = [sys.executable, "-m", "fedbench.pretraining", "train", name]
    return subprocess.Popen(command, env=os.environ | _TRAINING_SETTINGS)


def export(name: str, target: Path) -> None:
    """Write a backbone folder with its model card."""
    from fedbench.pretraining.export import export_backbone

    export_backbone(name, WORK, target)
    print(f"wrote {target}")


def check() -> None:
    """Compare the corpus with the tasks."""
    from fedbench.pretraining import check as checking

    print(checking.check(WORK))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fedbench.pretraining", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("check", help="compare the corpus with the tasks")
    for command in ("train", "export"):
        one = commands.add_parser(command, help=f"{command} one backbone")
        one.add_argument("name")
        if command == "export":
            one.add_argument("--to", type=Path, default=BACKBONES)
    return parser


if __name__ == "__main__":
    sys.exit(main())
