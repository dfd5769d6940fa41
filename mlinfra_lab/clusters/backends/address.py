"""``backend = "address"``: a scheduler that somebody else keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from mlinfra_lab.clusters.backend import Backend
from mlinfra_lab.errors import InvalidSettings, Unavailable
from mlinfra_lab.schema.common import JSON

if TYPE_CHECKING:
    from distributed.security import Security

_ADDRESS = re.compile(r"(tls|tcp|ws|wss|ucx|ucxx)://[^\s/:]+:\d+\Z|(tls|tcp)://\[[0-9a-fA-F:]+\]:\d+\Z")
_SECONDS = 5.0


class AddressConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of ``[clusters.NAME]`` with ``backend = "address"``.

    Attributes
    ----------
    address
        The scheduler's address, ``tls://host:port`` or ``tcp://host:port``.
    ca, cert, key
        PEM files for TLS, relative to the project: the authority that signed the scheduler's
        certificate, and the certificate and key to show it.
    dashboard
        URL of its dashboard, if people can reach one.
    """

    address: Annotated[str, Meta(title="Address", description="tls://host:port or tcp://host:port.")]
    ca: Annotated[str | None, Meta(title="CA", description="PEM file of the authority.")] = None
    cert: Annotated[str | None, Meta(title="Certificate", description="PEM file to show.")] = None
    key: Annotated[str | None, Meta(title="Key", description="PEM file of the certificate's key.")] = None
    dashboard: Annotated[str | None, Meta(title="Dashboard", description="URL.")] = None

    def __post_init__(self) -> None:
        if not _ADDRESS.match(self.address):
            raise ValueError(f"“address” is “{self.address}”; write it like “tls://host:8786”")
        if self.address.startswith("tls://") and not (self.ca and self.cert):
            raise ValueError("a tls:// address needs “ca” and “cert” (and “key”, unless it is in “cert”)")


class AddressBackend(Backend):
    """Nothing to start: only whether it answers is looked at."""

    id: ClassVar[str] = "address"
    label: ClassVar[str] = "A running scheduler"
    Config: ClassVar[type[msgspec.Struct]] = AddressConfig
    starts: ClassVar[bool] = False
    config: AddressConfig

    def workers(self) -> int | None:
        """See `Backend.workers`."""
        return None

    def security(self) -> Security | None:
        """See `Backend.security`."""
        if not self.config.ca:
            return None
        from distributed.security import Security

        files: dict[str, str] = {}
        for key, option in (("ca", "tls_ca_file"), ("cert", "tls_client_cert"), ("key", "tls_client_key")):
            name = getattr(self.config, key)
            if name is None:
                continue
            path = self.root / Path(name).expanduser()
            if not path.is_file():
                raise InvalidSettings(
                    f"There is no file {path} (“{key}” of the cluster).", "Correct the path."
                )
            files[option] = str(path)
        return Security(require_encryption=self.config.address.startswith(("tls://", "wss://")), **files)

    def check(self) -> JSON:
        """See `Backend.check`."""
        import asyncio

        return asyncio.run(self._ask(self.security()))

    async def _ask(self, security: Security | None) -> JSON:
        import asyncio
        import ssl

        from distributed.core import rpc
        from distributed.security import Security

        address = self.config.address
        try:
            arguments = (security or Security()).get_connection_args("client")
            async with asyncio.timeout(_SECONDS + 1):
                async with rpc(address, connection_args=arguments, timeout=_SECONDS) as scheduler:
                    identity = await scheduler.identity(n_workers=0)
        except ssl.SSLError as error:
            raise Unavailable(
                f"The certificates for {address} do not fit: {error.reason or error}.",
                "Correct “ca”, “cert” and “key”.",
            ) from error
        except OSError as error:
            raise Unavailable(
                f"No Dask scheduler answers at {address}: {_reason(await _last_word(address, error))}.",
                "Start it, or correct the cluster's “address” (and “ca”, “cert”, “key”).",
            ) from error
        except Exception as error:
            # Something answered that is no scheduler: Dask's handshake fails in many ways.
            raise Unavailable(
                f"What answers at {address} is no Dask scheduler we understand ({_reason(error)}).",
                "Correct the cluster's “address”; its Dask should be of about the same version as ours.",
            ) from error
        if identity.get("type") != "Scheduler":
            raise Unavailable(f"What answers at {address} is a Dask {identity.get('type', '?').lower()}.")
        return {
            "address": address,
            "dashboard": self.config.dashboard,
            "connected": int(identity["n_workers"]),
        }


async def _last_word(address: str, error: OSError) -> OSError:
    """What the address itself says, where Dask's last try was cut short by its own time limit."""
    import asyncio
    from urllib.parse import urlsplit

    if not isinstance(error.__cause__, TimeoutError):
        return error
    parts = urlsplit(address)
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError as plain:
        return plain if str(plain) else error
    writer.close()
    return error


def _reason(error: BaseException) -> str:
    """The innermost reason, which says more than Dask's “timed out after 5 s”."""
    while error.__cause__ is not None and str(error.__cause__):
        error = error.__cause__
    return str(error).strip().rstrip(".") or type(error).__name__
