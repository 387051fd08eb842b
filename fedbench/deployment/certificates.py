"""Certificates of a federation: an authority of its own, and the server that it vouches for.

Sites trust this authority for this one server and for nothing else, so that no certificate of a
public authority is needed, and none of those, if it errs, can stand between a site and its server.
All keys are on P-384, a curve of NIST that TLS and Flower both take.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedbench.errors import FedbenchError, shown

ALWAYS = ("localhost", "127.0.0.1")  #: names that every server has, for whoever tries it there
AUTHORITY_DAYS = 3653  #: ten years: renewing it means to give every site a new file
_CLOCKS = timedelta(days=1)  #: by how much the clock of a site may be behind
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    """A private key, from the operating system's generator."""
    return ec.generate_private_key(ec.SECP384R1())


def hosts_of(given: Sequence[str]) -> tuple[str, ...]:
    """Names and addresses of a server, each once, in one form; those it always has come last.

    Raises:
        FedbenchError: one of them is neither a name nor an address.
    """
    return tuple(dict.fromkeys([*map(_host, given), *ALWAYS]))


def _host(given: str) -> str:
    """A host as a certificate holds it.

    Raises:
        FedbenchError: it is neither a name nor an address.
    """
    text = given.lower()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    # What ends in digits is an address to whoever connects, and this one is none.
    if len(text) > 253 or not _NAME.fullmatch(text) or text.rpartition(".")[2].isdigit():
        raise FedbenchError(
            f"--host {shown(given)} is neither the name of a machine nor its address: give it as "
            "sites will, without https:// and port, such as fedbench.example.org or 192.0.2.7."
        )
    return text


def new_authority(key: Key, start: datetime, days: int = AUTHORITY_DAYS) -> x509.Certificate:
    """An authority that vouches for itself; it may sign servers, and no other authority.

    Args:
        key: its private key.
        start: when that begins; a day before is granted to clocks that are behind.
        days: how long it lasts from then on.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Of its own, so that a certificate of another federation's authority is known as such.
    name = _named(f"fedbench authority {identifier.digest.hex()[:16]}")
    builder = (
        _begun(name, name, key, start, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    return builder.sign(key, SHA384())


def new_certificate(
    authority: x509.Certificate,
    authority_key: Key,
    key: Key,
    hosts: Sequence[str],
    start: datetime,
    days: int,
) -> x509.Certificate:
    """What the authority says of a server: that it has this key and these names.

    Args:
        authority: that vouches for it.
        authority_key: its private key.
        key: the private key of the server, whose public half is told.
        hosts: from :func:`hosts_of`.
        start: when that begins; a day before is granted to clocks that are behind.
        days: how long it lasts from then on.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _begun(_named("fedbench server"), authority.subject, key, start, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName([*map(_general, hosts)]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False
        )
    )
    return builder.sign(authority_key, SHA384())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: Key, start: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _CLOCKS)
        .not_valid_after(start + timedelta(days=days))
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def hosts_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses that a certificate tells; none if it tells none."""
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, told.get_values_for_type(x509.IPAddress))
    return (*told.get_values_for_type(x509.DNSName), *addresses)


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is that of an authority."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether that authority vouches for it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return may_sign(authority)
