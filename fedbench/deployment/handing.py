"""What is said once keys are made: what goes to whom, what stays, and what to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedbench.deployment.certificates import hosts_in
from fedbench.deployment.keys import (
    AUTHORITY,
    AUTHORITY_KEY,
    CERTIFICATE,
    KEY,
    certificates,
    expires,
    fingerprint,
    renewed,
    warning,
)


def of_server(folder: Path, hosts: Sequence[str]) -> str:
    """After a server's keys were made."""
    return "\n".join(
        [
            f"The keys of the server are in {folder}:",
            f"  {AUTHORITY:12} give it to every site; it is no secret",
            f"  {CERTIFICATE:12} stays here",
            f"  {KEY:12} stays here, and nobody else may read it",
            f"  {AUTHORITY_KEY:12} nobody else may read it either: it was kept because renewing",
            f"  {'':12} {CERTIFICATE} takes it, and nothing else does: you may store it elsewhere",
            *_of_names(folder, hosts),
            *_compared(folder / AUTHORITY, "Sites compare it"),
        ]
    )


def of_renewal(folder: Path, hosts: Sequence[str]) -> str:
    """After a server's certificate was renewed."""
    return "\n".join(
        [
            f"{folder / CERTIFICATE} is new: start the server again, which reads it then.",
            f"Sites go on with the {AUTHORITY} they have.",
            *_of_names(folder, hosts),
        ]
    )


def _of_names(folder: Path, hosts: Sequence[str]) -> list[str]:
    end = expires(folder / CERTIFICATE)
    return [
        f"Sites can reach the server as {', '.join(hosts)}.",
        f"Its certificate ends on {end:%Y-%m-%d}; before that, {renewed(folder)}.",
    ]


def of_site(private: Path, public: Path) -> str:
    """After a site's pair was made."""
    return "\n".join(
        [
            f"The keys of {private.stem} are in {private.parent}:",
            f"  {private.name:20} stays at the site, and nobody else may read it",
            f"  {public.name:20} give it to the server's operator; it is no secret",
            *_compared(public, "The server's operator compares it"),
        ]
    )


def of_file(path: Path) -> str:
    """What a certificate or public key is, for whoever was given it."""
    told = [f"Fingerprint of {path} (SHA-256):", _in_two_lines(path)]
    if path.suffix != ".pub":
        first = certificates(path)[0]
        named = ", ".join(hosts_in(first))
        told += [f"Names a server may have: {named}."] if named else []
        told += [f"It ends on {expires(path):%Y-%m-%d}."]
        told += [text] if (text := warning(path)) else []
    return "\n".join(told)


def _compared(path: Path, who: str) -> list[str]:
    return [
        f"Fingerprint of {path.name} (SHA-256). {who} by telephone with what",
        f"python -m fedbench keys show {path.name} tells there:",
        _in_two_lines(path),
    ]


def _in_two_lines(path: Path) -> str:
    digits = fingerprint(path)
    return f"  {digits[:39]}\n  {digits[40:]}"
