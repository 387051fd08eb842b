"""Known vulnerabilities of what requirements.lock pins: ``python -m tests.vulnerabilities``.

A report, which fails nothing: whether a vulnerability reaches what fedbench does with a library is
for people to say. pip-audit is run by uv in an environment of its own and asks pypi.org. Where that
does not answer it says that nothing was found, so that packages it could look up are counted here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

PINNED = "pip-audit==2.10.1"
LOCK = "requirements.lock"
_COMMAND = [
    *(sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", PINNED, "pip-audit"),
    *("--requirement", LOCK, "--no-deps", "--disable-pip", "--progress-spinner", "off"),
    *("--timeout", "15", "--format", "json"),
]


def told(content: Mapping[str, Any]) -> list[str]:
    """One line per vulnerable package, and how many packages anything is known of."""
    every = content["dependencies"]
    known = [one for one in every if "skip_reason" not in one]
    bad = [one for one in known if one["vulns"]]
    lines = [f"{one['name']} {one['version']}: {', '.join(map(_one, one['vulns']))}" for one in bad]
    summary = f"{len(known)} of {len(every)} packages were looked up"
    if not known:
        return [f"{summary}: pypi.org tells of none here, and nothing is known."]
    return [*lines, f"{summary}, {len(bad)} with known vulnerabilities."]


def _one(found: Mapping[str, Any]) -> str:
    mended = " or ".join(found["fix_versions"])
    return f"{found['id']} ({f'mended in {mended}' if mended else 'not mended yet'})"


def report() -> str:
    """What pip-audit finds, or a sentence on why it could not look."""
    done = subprocess.run(_COMMAND, capture_output=True, text=True, check=False)
    try:
        return "\n".join(told(json.loads(done.stdout)))
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        return f"{PINNED} could not look ({why}): nothing is known; try another network."


if __name__ == "__main__":
    print(report())
