"""The project's own certificate authority and the one certificate its Dask processes show.

Other users of the machine reach loopback too, and whoever reaches a Dask scheduler can run code. So
everything we start speaks TLS and takes nobody who has no certificate of this project's authority.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509

FOLDER = "tls"
_YEARS = 10
_DAY = dt.timedelta(days=1)


class Files(NamedTuple):
    """Where the certificates stand."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def inside(cls, folder: Path) -> Files:
        """The files of ``folder``."""
        return cls(folder / "ca.pem", folder / "node.pem", folder / "node.key")


def ensure(state: Path) -> Files:
    """The project's certificates; made at the first call.

    They are made in a folder beside and renamed, under a lock: whoever finds the folder finds all of
    it, and a process killed in between leaves nothing that counts.

    Parameters
    ----------
    state
        The project's state folder.
    """
    files = Files.inside(state / FOLDER)
    if _complete(files):
        return files
    from filelock import FileLock

    with FileLock(state / f"{FOLDER}.lock", mode=0o600):
        if not _complete(files):
            for left in state.glob(f".{FOLDER}-*"):
                shutil.rmtree(left)
            fresh = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=state))
            _make(Files.inside(fresh))
            # Only an empty folder can stand there, or one that somebody damaged: a certificate alone
            # is of no use without its key.
            if files.ca.parent.exists():
                shutil.rmtree(files.ca.parent)
            fresh.rename(files.ca.parent)
    return files


def _complete(files: Files) -> bool:
    return all(path.is_file() for path in files)


def _make(files: Files) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = dt.datetime.now(dt.UTC)
    # The authority's key is needed for the two signatures below and kept nowhere: nobody can make
    # another certificate that our processes would take.
    ca_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = named("mlinfra-lab project authority")

    def begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 365 * _YEARS * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    ca = (
        begun(authority, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    loopback = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    node = (
        begun(named("mlinfra-lab node"), node_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(loopback), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(files.ca, ca.public_bytes(pem))
    _write(files.cert, node.public_bytes(pem))
    _write(
        files.key,
        node_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _usage(certificates: bool) -> x509.KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
