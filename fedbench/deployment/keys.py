"""Reading what proves who a server and its sites are, with one sentence for whatever is wrong.

A server shows a certificate (TLS); a site signs what it asks with its own key, whose public half
the server knows. :mod:`fedbench.deployment.issuing` makes these files.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedbench.deployment.certificates import Key, hosts_in, hosts_of, is_signed_by, may_sign
from fedbench.errors import FedbenchError
from fedbench.limits import KIB, read_within

#: names of the files in a server's folder
AUTHORITY, AUTHORITY_KEY, CERTIFICATE, KEY = "ca.pem", "ca.key", "server.pem", "server.key"
NEW_SERVER = "python -m fedbench keys server --host HOST"
NEW_SITE = "python -m fedbench keys site NAME"
_AHEAD = timedelta(days=30)  #: before a certificate ends, people are told
_MOST = 256 * KIB  #: bytes of a file of keys; ours have less than one KiB
#: the curves that a SuperLink registers
_CURVES = (ec.SECP192R1, ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

_Read = TypeVar("_Read")


def renewed(folder: Path) -> str:
    """The command that renews the certificate in a folder."""
    return f"python -m fedbench keys server --renew --folder {folder}"


@dataclass(frozen=True)
class ServerCertificates:
    """The files a server needs for TLS, which belong together, and the names it goes by."""

    authority: Path
    certificate: Path
    key: Path
    hosts: tuple[str, ...]


def server_certificates(folder: Path, host: str | None = None) -> ServerCertificates:
    """The files of a server, held against one another, the clock and the host's name.

    Args:
        folder: where ``ca.pem``, ``server.pem`` and ``server.key`` are.
        host: the name or address under which sites connect, if that is known.

    Raises:
        FedbenchError: one is missing, cannot be read, is another kind of file, is no longer or not
            yet valid or does not belong to the others, the key is open to others on this machine,
            or the certificate does not name the host.
    """
    above = _in_time(folder / AUTHORITY, _authorities(folder / AUTHORITY))
    chain = _in_time(folder / CERTIFICATE, certificates(folder / CERTIFICATE))
    key = server_key(folder / KEY)
    if chain[0].public_key() != key.public_key():
        raise FedbenchError(
            f"{folder / CERTIFICATE} and {folder / KEY} do not belong together: put back the pair "
            f"that was made together, or make both in a new folder ({NEW_SERVER})."
        )
    if not _leads_to(above, chain):
        raise FedbenchError(
            f"{folder / CERTIFICATE} was not signed by {folder / AUTHORITY}, so that sites would "
            f"refuse it: put back the files that were made together, or {renewed(folder)}."
        )
    hosts = hosts_in(chain[0])
    if host is not None and hosts_of([host])[0] not in hosts:
        raise FedbenchError(
            f"{folder / CERTIFICATE} does not name {host}, so that sites would refuse it: "
            f"{renewed(folder)} --host {host} makes one that does (now: {', '.join(hosts)})."
        )
    return ServerCertificates(folder / AUTHORITY, folder / CERTIFICATE, folder / KEY, hosts)


def _leads_to(above: list[x509.Certificate], chain: list[x509.Certificate]) -> bool:
    """Whether each of a chain is signed by the next, and the last by one of those above."""
    below = all(is_signed_by(one, signer) for one, signer in pairwise(chain))
    return below and any(is_signed_by(chain[-1], signer) for signer in above)


def authority(path: Path) -> x509.Certificate:
    """The authority that a site trusts: ``ca.pem``, as the server's operator gave it.

    Raises:
        FedbenchError: it is missing, cannot be read, is no authority's certificate or holds a
            private key, or is no longer or not yet valid.
    """
    return _in_time(path, _authorities(path))[0]


def _authorities(path: Path) -> list[x509.Certificate]:
    found = certificates(path)
    if not all(may_sign(one) for one in found):
        raise FedbenchError(
            f"{path} is no certificate of an authority: take the {AUTHORITY} that the server's "
            "operator gives to sites."
        )
    return found


def certificates(path: Path) -> list[x509.Certificate]:
    """All certificates in a file, in its order, whether they are valid now or not.

    Raises:
        FedbenchError: it is missing, cannot be read, holds none, or holds a private key as well.
    """
    content = _content(path)
    if b"PRIVATE KEY-----" in content:
        raise FedbenchError(
            f"{path} holds a private key: keep that in a file of its own, because a file of "
            "certificates is given away."
        )
    return _loaded(path, x509.load_pem_x509_certificates, content, "certificate in PEM form")


def server_key(path: Path) -> Key:
    """The private key of a server or of an authority (PEM), which only its owner may read.

    Raises:
        FedbenchError: it is missing, cannot be read, is another kind of file, or is open to others.
    """
    content = _private_content(path)

    def load(content: bytes) -> Key:
        return _on_a_curve(load_pem_private_key(content, password=None))

    return _loaded(path, load, content, "private key of an elliptic curve in PEM form")


def site_key(path: Path) -> Key:
    """The private key of a site (OpenSSH), which only its owner may read.

    Raises:
        FedbenchError: it is missing, cannot be read, is another kind of file, or is open to others.
    """
    content = _private_content(path)

    def load(content: bytes) -> Key:
        return _on_a_curve(load_ssh_private_key(content, password=None))

    return _loaded(path, load, content, f"private key as {NEW_SITE} makes it")


def key_file(folder: Path) -> Path:
    """The private key of the one site whose keys are in a folder.

    Raises:
        FedbenchError: there is none, or more than one.
    """
    found = sorted(one for one in folder.glob("*.key") if one.name not in (KEY, AUTHORITY_KEY))
    if len(found) == 1:
        return found[0]
    has = ", ".join(one.name for one in found) or "none"
    raise FedbenchError(
        f"{folder} holds the private keys of sites {has}: name one with --key, or make one with "
        "python -m fedbench keys site NAME."
    )


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key of a site (OpenSSH), as its institution gave it.

    Raises:
        FedbenchError: it is missing, cannot be read, is another kind of file, or a private key.
    """
    content = _content(path)
    if b"PRIVATE KEY-----" in content:
        raise FedbenchError(
            f"{path} is a private key, which never leaves its machine: take the .pub file beside "
            f"it, and for a new pair ({NEW_SITE}) if it was sent."
        )

    def load(content: bytes) -> ec.EllipticCurvePublicKey:
        found = load_ssh_public_key(content)
        if isinstance(found, ec.EllipticCurvePublicKey) and isinstance(found.curve, _CURVES):
            return found
        raise ValueError

    return _loaded(path, load, content, f"public key as {NEW_SITE} makes it")


def as_registered(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key in the form in which a SuperLink registers it (PEM)."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def expires(path: Path) -> datetime:
    """When the first of the certificates in a file to end does so, in UTC.

    Raises:
        FedbenchError: it is missing, cannot be read or holds none.
    """
    return min(one.not_valid_after_utc for one in certificates(path))


def warning(path: Path, now: datetime | None = None) -> str | None:
    """What to say of a certificate that ends within thirty days, or has; None if it lasts longer.

    Raises:
        FedbenchError: it is missing, cannot be read or holds none.
    """
    end = expires(path)
    left = end - (now or datetime.now(UTC))
    if left > _AHEAD:
        return None
    told = f"expires on {_day(end)}, in {left.days} days" if left > timedelta() else _ended(end)
    return f"{path} {told}: {_of_its_end(path)}."


def fingerprint(path: Path) -> str:
    """The SHA-256 of the certificate or public key in a file, for two people to compare.

    Of a certificate it is the one that ``openssl x509 -fingerprint -sha256`` prints, of a public
    key that of the bytes which its file tells in base64.

    Raises:
        FedbenchError: it is missing, cannot be read or holds neither.
    """
    if b"-----BEGIN CERTIFICATE-----" in _content(path):
        return _digits(certificates(path)[0].public_bytes(Encoding.DER))
    return fingerprint_of(public_key(path))


def fingerprint_of(key: ec.EllipticCurvePublicKey) -> str:
    """The same of a public key, as it is told of its file."""
    ssh = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return _digits(base64.b64decode(ssh.split()[1]))


def _digits(told: bytes) -> str:
    digits = hashlib.sha256(told).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _in_time(path: Path, found: list[x509.Certificate]) -> list[x509.Certificate]:
    """These certificates, all of which are valid now.

    Raises:
        FedbenchError: one is not.
    """
    now = datetime.now(UTC)
    for one in found:
        if now > one.not_valid_after_utc:
            told = _ended(one.not_valid_after_utc)
            raise FedbenchError(f"{path} {told}: {_of_its_end(path)}.")
        if now < one.not_valid_before_utc:
            raise FedbenchError(
                f"{path} is valid only from {_day(one.not_valid_before_utc)} on, and by the clock "
                f"of this machine it is {_day(now)}: set the clock right."
            )
    return found


def _of_its_end(path: Path) -> str:
    """What to do about a certificate that ends."""
    if path.name == CERTIFICATE:
        return f"{renewed(path.parent)} makes a new one, and sites need nothing new"
    return (
        f"let the server's operator make new files in a new folder ({NEW_SERVER}) and give every "
        f"site the new {AUTHORITY}"
    )


def _ended(end: datetime) -> str:
    return f"expired on {_day(end)}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _on_a_curve(key: object) -> Key:
    if isinstance(key, Key) and isinstance(key.curve, _CURVES):
        return key
    raise ValueError


def _private_content(path: Path) -> bytes:
    """What a private key's file holds.

    Raises:
        FedbenchError: it is missing, cannot be read, or others on this machine may.
    """
    content = _content(path)
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FedbenchError(
            f"{path} is a private key and open to others on this machine: chmod 600 {path}, and "
            "make a new one if they may have read it."
        )
    return content


def _content(path: Path) -> bytes:
    try:
        return read_within(path, _MOST)
    except FileNotFoundError:
        raise FedbenchError(f"{path} is missing: {_origin(path)}.") from None
    except OSError as error:
        raise FedbenchError(
            f"{path} cannot be read ({error.strerror}): check the path and who may read it."
        ) from None


def _origin(path: Path) -> str:
    """Where a file comes from that is not there."""
    if path.name == AUTHORITY:
        return f"the server's operator makes it ({NEW_SERVER}) and gives it to sites"
    if path.name in (CERTIFICATE, KEY, AUTHORITY_KEY):
        return f"{NEW_SERVER} makes it, in the folder that --folder names"
    return f"{NEW_SITE} makes NAME.key, which stays at the site, and NAME.pub for the server"


def _loaded(path: Path, load: Callable[[bytes], _Read], content: bytes, kind: str) -> _Read:
    """What ``load`` makes of a file's content.

    Raises:
        FedbenchError: it is not of that ``kind``.
    """
    try:
        return load(content)
    except TypeError:  # which is what the library says of a password that it was not given
        reason = "it is locked with a password, which nobody is there to type"
    except (ValueError, UnsupportedAlgorithm):
        reason = "it is another kind of file, or damaged"
    raise FedbenchError(f"{path} is no {kind} ({reason}): {_origin(path)}.") from None
