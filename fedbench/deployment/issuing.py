"""Making the keys of a federation: those of the server, and of each site; nothing is overwritten.

The authority's private key is kept, so that a server's certificate can be renewed, or get another
name, while sites go on with the ``ca.pem`` they have. Whoever could read it could read
``server.key`` beside it as well, and either is enough to pass for the server; nothing else trusts
the authority. It is needed for renewing alone, and may be kept elsewhere until then.

Each file is written whole, and what is missing is made from what is there: whoever was stopped
starts again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fedbench.deployment.certificates import (
    AUTHORITY_DAYS,
    Key,
    hosts_in,
    hosts_of,
    new_authority,
    new_certificate,
    new_key,
)
from fedbench.deployment.keys import (
    AUTHORITY,
    AUTHORITY_KEY,
    CERTIFICATE,
    KEY,
    authority,
    certificates,
    renewed,
    server_key,
    site_key,
)
from fedbench.durable import sweep
from fedbench.errors import FedbenchError, shown
from fedbench.files import write_bytes
from fedbench.locks import locked

_LOCK = ".lock"
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_OURS = tuple(Path(name).stem for name in (AUTHORITY, CERTIFICATE))


def issue_server(folder: Path, hosts: Sequence[str], days: int) -> tuple[str, ...]:
    """Make an authority, and a server that it vouches for; the server's names are returned.

    Args:
        folder: for ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key``.
        hosts: names and addresses under which sites connect; ``localhost`` is added.
        days: how long the server's certificate lasts.

    Raises:
        FedbenchError: a host is none, the folder has a server's certificate already, what it has
            does not fit, or it cannot be written.
    """
    if not hosts:
        raise FedbenchError(
            "--host is missing: give the name or address of this machine as sites will write it, "
            "once for each that it has."
        )
    named = hosts_of(hosts)
    with locked(folder / _LOCK):
        sweep(folder.iterdir())
        if (folder / CERTIFICATE).exists():
            raise FedbenchError(
                f"{folder / CERTIFICATE} is there already, and nothing is overwritten: name a new "
                f"folder with --folder, or have it renewed ({renewed(folder)})."
            )
        if (folder / AUTHORITY).exists() and not (folder / AUTHORITY_KEY).exists():
            raise _no_authority_key(folder)
        above = _kept_key(folder / AUTHORITY_KEY)
        if not (folder / AUTHORITY).exists():
            write_bytes(folder / AUTHORITY, _pem(new_authority(above, _now(), AUTHORITY_DAYS)))
        _kept_key(folder / KEY)
        _certify(folder, named, days)
    return named


def renew_server(folder: Path, hosts: Sequence[str], days: int) -> tuple[str, ...]:
    """Make a new certificate for the same server and key; the server's names are returned.

    Sites need nothing new. The old certificate is replaced in one step.

    Args:
        folder: where ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key`` are.
        hosts: names and addresses from now on; those of the old certificate if there are none.
        days: how long the new certificate lasts.

    Raises:
        FedbenchError: a file is missing or cannot be used, or a host is none.
    """
    named = hosts_of(hosts)
    old = certificates(folder / CERTIFICATE)[0]
    with locked(folder / _LOCK):
        if not (folder / AUTHORITY_KEY).exists():
            raise _no_authority_key(folder)
        if not hosts:
            named = hosts_in(old)
        _certify(folder, named, days)
    return named


def _certify(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Write a certificate for the server's key."""
    above, above_key = authority(folder / AUTHORITY), server_key(folder / AUTHORITY_KEY)
    if above.public_key() != above_key.public_key():
        raise FedbenchError(
            f"{folder / AUTHORITY} and {folder / AUTHORITY_KEY} do not belong together: put back "
            "the pair that was made together, or name a new folder with --folder."
        )
    left = (above.not_valid_after_utc - _now()).days
    if not 1 <= days <= left:
        raise FedbenchError(
            f"--days {days} is not possible: give 1 to {left} days, because the authority in "
            f"{folder / AUTHORITY} lasts no longer."
        )
    made = new_certificate(above, above_key, server_key(folder / KEY), hosts, _now(), days)
    write_bytes(folder / CERTIFICATE, _pem(made))


def _no_authority_key(folder: Path) -> FedbenchError:
    return FedbenchError(
        f"{folder / AUTHORITY_KEY} is missing, without which {folder / AUTHORITY} signs nothing: "
        "put it back from where it is kept, or name a new folder with --folder, whose "
        f"{AUTHORITY} every site then needs."
    )


def issue_site(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a site's key pair, ``NAME.key`` and ``NAME.pub``, which are returned.

    Args:
        folder: for both.
        name: of the site.

    Raises:
        FedbenchError: the name is none, both files are there already, or the folder cannot be
            written.
    """
    if not _SITE.fullmatch(name) or name.lower() in _OURS:
        raise FedbenchError(
            f"The name of a site cannot be {shown(name)}: use up to 63 letters, digits and "
            f"hyphens, beginning with a letter or digit, and not {' or '.join(_OURS)}."
        )
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    with locked(folder / _LOCK):
        sweep(folder.iterdir())
        if public.exists():
            raise FedbenchError(
                f"{public} is there already, and nothing is overwritten: go on with it, or name "
                "another site, or a new folder with --folder."
            )
        if not private.exists():
            told = new_key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            write_bytes(private, told, secret=True)
        half = site_key(private).public_key()
        told = half.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_bytes(public, told + f" {name}\n".encode())
    return private, public


def _kept_key(path: Path) -> Key:
    """The private key in a file, which is made if it is not there."""
    if not path.exists():
        told = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_bytes(path, told, secret=True)
    return server_key(path)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _now() -> datetime:
    return datetime.now(UTC)
