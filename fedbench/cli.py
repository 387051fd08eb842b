"""``python -m fedbench``: which commands there are, and what each of them takes.

What a command does is in :mod:`fedbench.commands`, imported once it is known which one is meant:
telling what there is takes nothing of all that.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError, of_system, traced
from fedbench.paths import profile_names
from fedbench.redaction import without_secrets

#: commands about a profile, in the order of their help
_OF_PROFILES = {
    "figures": "do a profile's missing runs, then its notebooks",
    "grid": "do a profile's missing runs",
    "energy": "measure a profile's energy suite, with the machine to itself",
    "tune": "search a profile's learning rates and passes",
    "record": "keep a profile's finished runs and energy under data/recorded",
    "controls": "check the look-alikes on generator seeds never tuned on",
    "computes": "compare runs that differ only in how they are computed",
    "verify": "tell the verdict on every claim, and hold it against the record",
    "compare": "hold a profile's tables against those of the last commit",
    "reproduce": "do the runs behind one row of a table again",
    "replay": "do one recorded run of every cell again, with today's code",
    "report": "make one HTML site of a profile's executed notebooks",
    "status": "list which runs are fresh, stale or missing, and why",
    "plan": "say what a profile needs, before anything starts",
}

_OF_KEYS = """\
a server proves who it is by a certificate, which a federation's own authority (ca.pem) signs; a
site, by a key whose public half (NAME.pub) the server knows. What is private stays where it was
made. Nothing is ever overwritten; --renew replaces server.pem alone.
"""

_PLAIN = "no TLS: only to try things on one machine, never with real data"
_RULE_OF_GC = """\
what goes at once: what a process left that was killed (temporary files, the work of a run that is
finished, half-executed notebooks), and checkpoints that other code, data or backbone made
what goes when untouched for --days: checkpoints of unfinished runs that no shipped profile plans,
folders without a result, copies of notebooks that failed, caches
what goes with --stale: results that are stale and that no shipped profile plans
what never goes: what a process works on, any other result, recorded data, and work that holds a
privacy ledger, because a budget that was spent must not be forgotten
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 2 is returned, after one sentence, for what the user can mend.

    1 says that a comparison came out otherwise: verdicts, tables, a row done again, or a check;
    3, that fedbench has a defect.
    """
    parser = _parser()
    known, extra = parser.parse_known_args(arguments)
    if extra and not known.takes_fields:
        parser.error(without_secrets(f"unknown arguments: {' '.join(extra)}"))
    try:
        if known.command != "doctor":  # which tells it among all else
            _check_data_folder()
        from fedbench import commands

        return int(getattr(commands, known.command)(known, extra) or 0)
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
    except Exception as error:
        if (sentence := of_system(error)) is not None:
            print(f"fedbench: {sentence}", file=sys.stderr)
            return 2
        print(
            f"{traced(error)}fedbench: this is a defect of fedbench ({type(error).__name__}): "
            "please report it with the lines above, which quote no data.",
            file=sys.stderr,
        )
        return 3
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


class _WithFields(argparse.ArgumentParser):
    """A command whose options are the fields of a configuration, read when help is asked for."""

    def format_help(self) -> str:
        from fedbench.options import told

        self.epilog = told()
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fedbench", description="Run, list, show and export; draw figures."
    )
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )

    def add(name: str, text: str, fields: bool = False, does: str = "") -> argparse.ArgumentParser:
        """A subcommand; with ``fields`` it takes every field of a configuration as an option.

        ``does`` is its function's name where that is another.
        """
        commands._parser_class = _WithFields if fields else argparse.ArgumentParser
        sub: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=does or name, takes_fields=fields)
        return sub

    running = add("run", "do one run; every configuration field is an option", fields=True)
    running.add_argument("--again", action="store_true", help="even if the repository keeps it")
    running.add_argument(
        "--engine",
        choices=("in-process", "flower"),
        default="in-process",
        help="how payloads travel, with the same result: within this process, or over Flower on "
        "this machine, with a process and a model for each site (%(default)s)",
    )
    add("list", "list the finished runs", does="list_runs")
    showing = add("show", "show one run")
    showing.add_argument("run", help="its id, or the beginning of it")
    auditing = add("audit", "tell what a dataset holds, copies and leaks first", fields=True)
    auditing.add_argument("task")
    exporting = add("export", "write an adapter that plain peft loads")
    exporting.add_argument("run", help="its id, or the beginning of it")
    exporting.add_argument("folder", type=Path)
    exporting.add_argument(
        "--adapter",
        default="global",
        help="a site's name, where sites end with adapters of their own",
    )
    checking = add("conformance", "check rules, or anybody's aggregator, on toy adapters")
    checking.add_argument(
        "subject", nargs="?", help="a rule such as fedprox:mu=0.1, or package.module:function (all)"
    )
    add("doctor", "check machine, environment, disk, data and permissions, and say what to do")
    _add_keys(add("keys", "make and look at the keys of a federation between machines"))
    _add_server(add("server", "run a federation whose sites are on other machines"))
    _add_site(add("site", "take part in a federation with a file of one's own"))
    add("site-policy", "write a policy to begin with: site/policy.yml", does="site_policy")
    _add_gc(add("gc", "remove what runs left behind and what can be computed again"))
    _add_site_log(add("site-log", "check or show what left a site", does="site_log"))
    add("rules", "list federated rules: with which methods they have a meaning, and why not")
    options = _options_of_profiles()
    for name, text in _OF_PROFILES.items():
        sub = add(name, text)
        sub.add_argument(
            "--profile", default="smoke", help=f"{', '.join(profile_names())}, or a .yml file"
        )
        for option, given in options.get(name, {}).items():
            sub.add_argument(option, **given)
    return parser


def _add_keys(keys: argparse.ArgumentParser) -> None:
    keys.epilog = _OF_KEYS
    kinds = keys.add_subparsers(required=True, metavar="KIND", dest="kind")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--folder", type=Path, default=Path("keys"), help="where they go (%(default)s)"
    )

    text = "an authority, and a server that it vouches for"
    server = kinds.add_parser("server", help=text, description=f"Make {text}.", parents=[common])
    server.add_argument(
        "--host",
        action="append",
        default=[],
        help="name or address of the server, as sites write it; once for each that it has",
    )
    server.add_argument("--days", type=int, default=365, help="that it lasts (%(default)s)")
    server.add_argument(
        "--renew", action="store_true", help="a new server.pem for the same key; sites go on"
    )

    text = "the key pair of a site"
    site = kinds.add_parser("site", help=text, description=f"Make {text}.", parents=[common])
    site.add_argument("name", help="letters, digits and hyphens")

    text = "the fingerprint of a certificate or of a site's public key"
    showing = kinds.add_parser("show", help=text, description=f"Show {text}.")
    showing.add_argument("path", type=Path, help="such as ca.pem or hospital-a.pub")


def _add_server(server: argparse.ArgumentParser) -> None:
    server.epilog = "FEDERATION.md says what run.yml holds, and walks through an example"
    server.add_argument("--config", type=Path, required=True, help="the run file, such as run.yml")
    server.add_argument("--plain-text", action="store_true", help=_PLAIN)


def _add_site(site: argparse.ArgumentParser) -> None:
    site.epilog = "FEDERATION.md walks through an example"
    site.add_argument("--data", type=Path, required=True, help="file of this site's own rows")
    site.add_argument("--task", type=Path, required=True, help="YAML file that describes them")
    site.add_argument("--server", required=True, help="HOST:PORT")
    site.add_argument("--key", type=Path, help="private key (the only one in keys/ of a site)")
    site.add_argument(
        "--authority", type=Path, default=Path("keys/ca.pem"), help="of the server (%(default)s)"
    )
    site.add_argument(
        "--policy", type=Path, default=Path("site/policy.yml"), help="what it allows (%(default)s)"
    )
    site.add_argument(
        "--folder", type=Path, default=Path("site"), help="what it keeps (%(default)s)"
    )
    site.add_argument("--plain-text", action="store_true", help=_PLAIN)


def _add_gc(collecting: argparse.ArgumentParser) -> None:
    collecting.epilog = _RULE_OF_GC
    collecting.add_argument("--yes", action="store_true", help="remove it (default: only tell)")
    collecting.add_argument(
        "--days", type=float, default=30, help="how long abandoned work is kept (%(default)s)"
    )
    collecting.add_argument(
        "--stale", action="store_true", help="also stale results that no shipped profile plans"
    )


def _add_site_log(log: argparse.ArgumentParser) -> None:
    log.epilog = "ends with 1 where the record is not what was written"
    log.add_argument("action", choices=("verify", "show"))
    place = Path("site/record.jsonl")
    log.add_argument("file", nargs="?", type=Path, default=place, help="the record (%(default)s)")
    log.add_argument("--head", help="hash that was written down: the record must still have it")


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
    missing = {"action": "store_true", "help": "only what has no values yet, or asks otherwise"}
    return {
        "figures": output,
        "tune": {"--missing": missing},
        "computes": {**output, "--device": {"default": "cpu", "choices": ("cpu", "cuda")}},
        "verify": {**output, "--accept": accept},
        "compare": {**output, "--reference": reference},
        "reproduce": {**output, **row},
        "report": {"--figures": {"type": Path, "help": "where they are (figures/PROFILE)"}},
    }
