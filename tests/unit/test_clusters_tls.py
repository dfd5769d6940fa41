"""The project's certificates."""

from __future__ import annotations

import ssl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography import x509

from mlinfra_lab.clusters import tls


def test_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    files = tls.ensure(tmp_path)
    assert stat.S_IMODE(files.ca.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    before = [path.read_bytes() for path in files]
    assert tls.ensure(tmp_path) == files
    assert [path.read_bytes() for path in files] == before


def test_the_certificate_is_the_authoritys_and_names_loopback(tmp_path: Path) -> None:
    files = tls.ensure(tmp_path)
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    node = x509.load_pem_x509_certificate(files.cert.read_bytes())
    node.verify_directly_issued_by(authority)
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"localhost", "127.0.0.1", "::1"}
    assert 9 < (node.not_valid_after_utc - node.not_valid_before_utc).days / 365 < 11
    # OpenSSL itself takes the pair and the chain, under the rules Python's default context sets.
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)


def test_the_authoritys_key_is_kept_nowhere(tmp_path: Path) -> None:
    files = tls.ensure(tmp_path)
    assert {path.name for path in files.ca.parent.iterdir()} == {"ca.pem", "node.pem", "node.key"}
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    node = x509.load_pem_x509_certificate(files.cert.read_bytes())
    assert authority.public_key() != node.public_key()


def test_the_folder_may_be_there_empty(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir(mode=0o700)
    assert all(path.is_file() for path in tls.ensure(tmp_path))


def test_a_killed_attempt_leaves_nothing_that_counts(tmp_path: Path) -> None:
    half = tmp_path / ".tls-half"
    half.mkdir()
    (half / "ca.pem").write_text("half")
    files = tls.ensure(tmp_path)
    assert all(path.is_file() for path in files)
    assert not half.exists()


def test_many_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from mlinfra_lab.clusters import tls;"
        "print(hash(tls.ensure(pathlib.Path(sys.argv[1])).cert.read_bytes()))"
    )

    def one(_: int) -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        environment = {"PYTHONHASHSEED": "0"}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(one, range(6)))) == 1
    assert not list(tmp_path.glob(".tls-*"))
