"""Keys of a federation: made, refused with one sentence each, and good enough for real TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
    load_ssh_private_key,
)

from fedbench.cli import main
from fedbench.deployment import issuing, keys
from fedbench.deployment.certificates import hosts_of, new_authority, new_certificate, new_key
from fedbench.errors import FedbenchError

HOST = "fed.example.org"
FILES = ["ca.key", "ca.pem", "server.key", "server.pem"]


@pytest.fixture
def folder(tmp_path):
    issuing.issue_server(tmp_path / "keys", [HOST, "192.0.2.7"], 365)
    return tmp_path / "keys"


@pytest.fixture
def site(folder):
    """The private and the public half of a site."""
    return issuing.issue_site(folder, "hospital-a")


def _names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def _signed(folder, start, days, hosts=(HOST,)):
    """Put another certificate of the folder's own authority there."""
    above, above_key = keys.authority(folder / "ca.pem"), keys.server_key(folder / "ca.key")
    key = keys.server_key(folder / "server.key")
    made = new_certificate(above, above_key, key, hosts, start, days)
    (folder / "server.pem").write_bytes(made.public_bytes(Encoding.PEM))


# Making


def test_what_is_made_is_read_again(folder, site):
    found = keys.server_certificates(folder, HOST)
    assert found.hosts == (HOST, "localhost", "192.0.2.7", "127.0.0.1")
    assert found.certificate == folder / "server.pem"
    assert keys.site_key(site[0]).public_key() == keys.public_key(site[1])
    assert _names(folder) == sorted([*FILES, "hospital-a.key", "hospital-a.pub"])


def test_private_keys_can_be_read_by_their_owner_alone(folder, site):
    for path in (folder / "ca.key", folder / "server.key", site[0]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_sites_key_is_in_the_forms_that_flower_reads(site):
    private, public = site
    assert isinstance(load_ssh_private_key(private.read_bytes(), None).curve, ec.SECP384R1)
    assert public.read_text().startswith("ecdsa-sha2-nistp384 ")
    registered = keys.as_registered(keys.public_key(public))
    assert load_pem_public_key(registered) == keys.public_key(public)


def test_nothing_is_overwritten(folder, site):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FedbenchError, match=r"server\.pem is there already"):
        issuing.issue_server(folder, [HOST], 365)
    with pytest.raises(FedbenchError, match=r"hospital-a\.pub is there already"):
        issuing.issue_site(folder, "hospital-a")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("written", range(4))
def test_who_was_stopped_between_two_files_starts_again(folder, written):
    """They are written in this order, and the last makes a server of them."""
    order = ["ca.key", "ca.pem", "server.key", "server.pem"]
    before = {name: (folder / name).read_bytes() for name in order[:written]}
    for name in order[written:]:
        (folder / name).unlink()
    (folder / f".server.key.{'0' * 16}").write_text("half a key")
    issuing.issue_server(folder, [HOST], 365)
    assert keys.server_certificates(folder, HOST)
    assert {name: (folder / name).read_bytes() for name in order[:written]} == before
    assert _names(folder) == FILES


def test_a_public_half_is_made_again_from_the_private_one(site):
    private, public = site
    told = public.read_bytes()
    public.unlink()
    assert issuing.issue_site(private.parent, "hospital-a") == site
    assert public.read_bytes() == told


@pytest.mark.parametrize(
    "name", ["", "a b", "../a", "a.b", "-a", "ca", "Server", "a" * 64, "ä", "a\n"]
)
def test_a_site_is_named_with_letters_digits_and_hyphens(tmp_path, name):
    with pytest.raises(FedbenchError, match="letters, digits and hyphens"):
        issuing.issue_site(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://a.org",
        "a.org:9092",
        "a b",
        "*.a.org",
        "-a.org",
        "a..org",
        "300.1.1.1",
        "x" * 64,
    ],
)
def test_a_host_is_a_name_or_an_address(tmp_path, host):
    with pytest.raises(FedbenchError, match="neither the name of a machine nor its address"):
        issuing.issue_server(tmp_path / "keys", [host], 365)
    assert not (tmp_path / "keys").exists()


def test_hosts_are_told_once_in_one_form():
    assert hosts_of(["A.org", "a.org", "::1", "0:0:0:0:0:0:0:1", "localhost"]) == (
        "a.org",
        "::1",
        "localhost",
        "127.0.0.1",
    )


@pytest.mark.parametrize("days", [0, -1, 5000])
def test_a_certificate_lasts_no_longer_than_its_authority(tmp_path, days):
    with pytest.raises(FedbenchError, match=f"--days {days} is not possible: give 1 to 365"):
        issuing.issue_server(tmp_path, [HOST], days)


def test_renewing_changes_the_certificate_alone_and_keeps_its_names(folder):
    before = {name: (folder / name).read_bytes() for name in FILES}
    old = keys.expires(folder / "server.pem")
    issuing.renew_server(folder, [], 700)
    found = keys.server_certificates(folder, HOST)
    assert found.hosts == (HOST, "localhost", "192.0.2.7", "127.0.0.1")
    assert keys.expires(folder / "server.pem") > old + timedelta(days=300)
    changed = {name for name in FILES if (folder / name).read_bytes() != before[name]}
    assert changed == {"server.pem"}


def test_renewing_gives_a_server_another_name(folder):
    issuing.renew_server(folder, ["new.example.org"], 365)
    assert keys.server_certificates(folder, "new.example.org")


def test_an_expired_certificate_is_renewed(folder):
    _signed(folder, datetime.now(UTC) - timedelta(days=30), 20)
    issuing.renew_server(folder, [], 365)
    assert keys.server_certificates(folder, HOST)


@pytest.mark.parametrize("make", [issuing.renew_server, issuing.issue_server])
def test_without_the_authoritys_key_nothing_is_signed(folder, make):
    (folder / "ca.key").unlink()
    if make is issuing.issue_server:
        (folder / "server.pem").unlink()
    with pytest.raises(FedbenchError, match=r"ca\.key is missing, without which"):
        make(folder, [HOST], 365)
    assert not (folder / "ca.key").exists()


def test_an_authority_and_the_key_of_another_sign_nothing(folder, tmp_path):
    issuing.issue_server(tmp_path / "other", [HOST], 365)
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(FedbenchError, match=r"ca\.pem and .*ca\.key do not belong together"):
        issuing.renew_server(folder, [], 365)


# Reading


def _says(match):
    return pytest.raises(FedbenchError, match=match)


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key"])
def test_a_file_that_is_missing_is_named_with_its_origin(folder, name):
    (folder / name).unlink()
    with _says(rf"{name} is missing: .*python -m fedbench keys server"):
        keys.server_certificates(folder)


@pytest.mark.parametrize("read", [keys.site_key, keys.public_key])
def test_a_sites_key_that_is_missing_is_told_how_it_is_made(tmp_path, read):
    with _says(r"a\.key is missing: python -m fedbench keys site NAME makes"):
        read(tmp_path / "a.key")


@pytest.mark.parametrize(
    "read", [keys.authority, keys.server_key, keys.site_key, keys.public_key, keys.expires]
)
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00\xff" * 99, b"-----BEGIN CERTIFICATE-----"]
)
def test_another_kind_of_file_is_refused(tmp_path, read, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o600)
    with _says(r"file is no .* \(it is another kind of file, or damaged\): "):
        read(path)


@pytest.mark.parametrize(
    "read", [keys.authority, keys.server_key, keys.site_key, keys.public_key, keys.fingerprint]
)
def test_a_folder_or_a_huge_file_is_refused(tmp_path, read):
    with _says("cannot be read"):
        read(tmp_path)
    (tmp_path / "huge").write_bytes(b"x" * (1 << 20))
    with _says("more than"):
        read(tmp_path / "huge")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o611])
def test_a_private_key_open_to_others_is_refused(folder, site, mode):
    for read, path in ((keys.site_key, site[0]), (keys.server_key, folder / "server.key")):
        path.chmod(mode)
        with _says(f"open to others on this machine: chmod 600 {path}"):
            read(path)


def test_a_private_key_in_place_of_a_public_file_is_refused(folder, site):
    with _says(r"is a private key, which never leaves its machine"):
        keys.public_key(site[0])
    with (folder / "ca.pem").open("ab") as file:
        file.write((folder / "ca.key").read_bytes())
    with _says(r"ca\.pem holds a private key"):
        keys.authority(folder / "ca.pem")


def test_a_servers_key_under_a_password_is_refused(folder):
    locked = BestAvailableEncryption(b"password")
    told = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    (folder / "server.key").write_bytes(told)
    with _says("locked with a password"):
        keys.server_key(folder / "server.key")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_a_sites_key_under_a_password_is_refused(site):
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "password", "-f", site[0]], check=True)
    with _says("locked with a password"):
        keys.site_key(site[0])


def test_a_key_that_a_superlink_would_not_register_is_refused(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "a.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    (tmp_path / "a.key").chmod(0o600)
    (tmp_path / "a.pub").write_bytes(
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    )
    with _says("is no private key as python -m fedbench keys site NAME makes it"):
        keys.site_key(tmp_path / "a.key")
    with _says("is no public key as python -m fedbench keys site NAME makes it"):
        keys.public_key(tmp_path / "a.pub")


def test_the_servers_certificate_in_place_of_the_authoritys_is_refused(folder):
    with _says(r"server\.pem is no certificate of an authority: take the ca\.pem"):
        keys.authority(folder / "server.pem")


def test_an_expired_certificate_names_its_day_and_the_remedy(folder):
    _signed(folder, datetime(2020, 1, 1, tzinfo=UTC), 31)
    with _says(r"server\.pem expired on 2020-02-01 00:00 UTC: .*--renew --folder .*keys makes"):
        keys.server_certificates(folder)


def test_a_certificate_that_begins_later_speaks_of_the_clock(folder):
    _signed(folder, datetime.now(UTC) + timedelta(days=9), 31)
    with _says("valid only from .* set the clock right"):
        keys.server_certificates(folder)


def test_a_clock_that_is_some_hours_behind_is_no_reason_to_refuse(folder):
    _signed(folder, datetime.now(UTC) + timedelta(hours=20), 31)
    assert keys.server_certificates(folder)


def test_an_expired_authority_needs_new_files_everywhere(tmp_path):
    key = new_key()
    made = new_authority(key, datetime(2010, 1, 1, tzinfo=UTC), 365)
    (tmp_path / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    with _says(r"expired on 2011-01-01 .* every site the new ca\.pem"):
        keys.authority(tmp_path / "ca.pem")


def test_a_key_of_another_certificate_is_refused(folder, tmp_path):
    issuing.issue_server(tmp_path / "other", [HOST], 365)
    (folder / "server.key").write_bytes((tmp_path / "other" / "server.key").read_bytes())
    with _says(r"server\.pem and .*server\.key do not belong together"):
        keys.server_certificates(folder)


def test_a_certificate_of_another_authority_is_refused(folder, tmp_path):
    issuing.issue_server(tmp_path / "other", [HOST], 365)
    (folder / "ca.pem").write_bytes((tmp_path / "other" / "ca.pem").read_bytes())
    with _says(r"server\.pem was not signed by .*ca\.pem"):
        keys.server_certificates(folder)


def test_a_host_that_the_certificate_does_not_name_is_refused(folder):
    for host in (HOST.upper(), "192.0.2.7", "localhost"):
        assert keys.server_certificates(folder, host)
    for host in ("elsewhere.org", "192.0.2.8"):
        with _says(f"does not name {host}.* --host {host}"):
            keys.server_certificates(folder, host)


def test_an_institutions_own_chain_is_accepted(folder):
    """Of an authority that signs another, which signs the server."""
    start = datetime.now(UTC)
    top_key, middle_key = new_key(), new_key()
    top, middle = new_authority(top_key, start), new_authority(middle_key, start)
    key = keys.server_key(folder / "server.key")
    leaf = new_certificate(middle, middle_key, key, [HOST], start, 9)
    crossed = _crossed(middle, middle_key, top, top_key)
    (folder / "ca.pem").write_bytes(top.public_bytes(Encoding.PEM))
    chain = leaf.public_bytes(Encoding.PEM) + crossed.public_bytes(Encoding.PEM)
    (folder / "server.pem").write_bytes(chain)
    assert keys.server_certificates(folder, HOST)
    (folder / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    with _says("was not signed by"):
        keys.server_certificates(folder, HOST)


def _crossed(middle, middle_key, top, top_key):
    """``middle`` as ``top`` signs it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA384

    return (
        x509.CertificateBuilder(
            top.subject,
            middle.subject,
            middle_key.public_key(),
            x509.random_serial_number(),
            middle.not_valid_before_utc,
            middle.not_valid_after_utc,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(top_key, SHA384())
    )


def test_a_warning_comes_thirty_days_ahead(folder):
    path = folder / "server.pem"
    end = keys.expires(path)
    assert keys.warning(path, end - timedelta(days=31)) is None
    assert "in 29 days: " in keys.warning(path, end - timedelta(days=29, hours=1))
    assert "server.pem expired on " in keys.warning(path, end + timedelta(days=1))
    assert keys.warning(path) is None


def test_fingerprints_are_those_that_other_programs_print(folder, site):
    from base64 import b64decode
    from hashlib import sha256

    der = ssl.PEM_cert_to_DER_cert((folder / "ca.pem").read_text())
    assert keys.fingerprint(folder / "ca.pem").replace(" ", "") == sha256(der).hexdigest()
    blob = b64decode(site[1].read_text().split()[1])
    assert keys.fingerprint(site[1]).replace(" ", "") == sha256(blob).hexdigest()


# The command


def test_the_command_says_what_goes_to_whom(tmp_path, capsys):
    folder = str(tmp_path / "keys")
    assert main(["keys", "server", "--host", HOST, "--folder", folder]) == 0
    assert main(["keys", "site", "hospital-a", "--folder", folder]) == 0
    assert main(["keys", "server", "--renew", "--folder", folder]) == 0
    told = capsys.readouterr().out
    assert "ca.pem       give it to every site" in told
    assert "hospital-a.pub       give it to the server's operator" in told
    assert "Sites go on with the ca.pem they have." in told
    for name in ("ca.pem", "hospital-a.pub"):
        print_ = keys.fingerprint(tmp_path / "keys" / name)
        assert print_[:39] in told
        assert print_[40:] in told
        assert main(["keys", "show", f"{folder}/{name}"]) == 0
        assert print_[:39] in capsys.readouterr().out


def test_the_command_answers_a_mistake_with_one_sentence(tmp_path, capsys):
    assert main(["keys", "server", "--folder", str(tmp_path)]) == 2
    assert main(["keys", "site", "ca", "--folder", str(tmp_path)]) == 2
    assert main(["keys", "show", str(tmp_path / "none.pem")]) == 2
    (tmp_path / "file").write_text("")
    assert main(["keys", "site", "a", "--folder", str(tmp_path / "file")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line[:10] for line in told] == ["fedbench: "] * 4


# TLS


def _shake_hands(server_folder, authority, host):
    """What a client that trusts ``authority`` and asks for ``host`` gets from a server."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server_folder / "server.pem", server_folder / "server.key")
    asking = ssl.create_default_context(cafile=authority)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, serving))
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), timeout=9) as plain,
                asking.wrap_socket(plain, server_hostname=host) as secured,
            ):
                return secured.recv(9)
        finally:
            thread.join()


def _serve(listening, context):
    plain, _ = listening.accept()
    with plain:
        try:
            with context.wrap_socket(plain, server_side=True) as secured:
                secured.sendall(b"hello")
        except (ssl.SSLError, OSError):  # who refused it hung up
            pass


@pytest.mark.parametrize("host", [HOST, "localhost", "127.0.0.1", "192.0.2.7"])
def test_tls_holds_with_the_right_authority_under_every_name(folder, host):
    assert _shake_hands(folder, folder / "ca.pem", host) == b"hello"


def test_tls_holds_after_a_renewal_with_the_old_authority_file(folder, tmp_path):
    (tmp_path / "given.pem").write_bytes((folder / "ca.pem").read_bytes())
    issuing.renew_server(folder, [], 365)
    assert _shake_hands(folder, tmp_path / "given.pem", HOST) == b"hello"


def test_tls_fails_with_another_authority(folder, tmp_path):
    issuing.issue_server(tmp_path / "other", [HOST], 365)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        _shake_hands(folder, tmp_path / "other" / "ca.pem", HOST)


def test_tls_fails_once_the_certificate_has_expired(folder):
    _signed(folder, datetime.now(UTC) - timedelta(days=30), 20)
    with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        _shake_hands(folder, folder / "ca.pem", HOST)


@pytest.mark.parametrize("host", ["elsewhere.org", "127.0.0.2"])
def test_tls_fails_under_another_name(folder, host):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _shake_hands(folder, folder / "ca.pem", host)


def test_whoever_has_a_servers_key_has_no_authority(folder, tmp_path):
    """A certificate that a server signed is refused, by us and by TLS."""
    server = keys.certificates(folder / "server.pem")[0]
    signer, key, start = keys.server_key(folder / "server.key"), new_key(), datetime.now(UTC)
    forged = new_certificate(server, signer, key, [HOST], start, 9)
    false = tmp_path / "false"
    false.mkdir()
    chain = forged.public_bytes(Encoding.PEM) + server.public_bytes(Encoding.PEM)
    (false / "server.pem").write_bytes(chain)
    (false / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    told = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (false / "server.key").write_bytes(told)
    (false / "server.key").chmod(0o600)
    with _says("was not signed by"):
        keys.server_certificates(false)
    with pytest.raises(ssl.SSLCertVerificationError, match="invalid CA certificate"):
        _shake_hands(false, folder / "ca.pem", HOST)
