"""The project's database: SQLite in its state folder, or PostgreSQL for a team."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlinfra_lab.errors import DatabaseTooNew, Invalid, MissingDependency, Unavailable
from mlinfra_lab.storage.unit import Unit
from mlinfra_lab.storage.watch import PostgresWatcher, SqliteWatcher, Watcher

FILE = "mlinfra.db"
MIGRATIONS = Path(__file__).with_name("migrations")
# One writer at a time on PostgreSQL too, so that feed revisions follow commit order. The number is
# arbitrary and only has to be ours.
_LOCK = 0x6D6C696E
_BUSY_SECONDS = 30
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "webdav",
}  # fmt: skip


def known_versions() -> list[str]:
    """Schema versions this code can read or migrate from, oldest first; the last is its own."""
    return sorted(path.stem.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def filesystem(path: Path, mounts: list[tuple[str, str]]) -> str:
    """Type of the file system ``path`` lies on.

    Parameters
    ----------
    mounts
        ``(mount point, type)`` of everything mounted, in mounting order.
    """
    best = ("", "")
    for point, kind in mounts:
        inside = point == "/" or path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def refuse_network(path: Path, mounts: list[tuple[str, str]] | None = None) -> None:
    """Refuse to put SQLite on a network file system, whose locks do not hold.

    Raises
    ------
    Unavailable
        Naming the file system and the two ways out.
    """
    if mounts is None:
        import psutil

        mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    kind = filesystem(path.resolve(), mounts)
    if kind.lower() in _NETWORK:
        raise Unavailable(
            f"{path} lies on a network file system ({kind}), on which SQLite loses data.",
            'Set `state_dir = "/a/local/disk/NAME"` under [project] in mlinfra.toml, '
            "or `database` to a PostgreSQL URL.",
        )


class Storage:
    """Reads and writes rows.

    Parameters
    ----------
    state
        The project's state folder.
    url
        SQLAlchemy URL; by default the SQLite file in ``state``.
    """

    def __init__(self, state: Path, url: str | None = None) -> None:
        self.path = None if url else state / FILE
        try:
            parsed = sa.make_url(url) if url else sa.URL.create("sqlite", database=str(self.path))
            if parsed.get_backend_name() == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            elif parsed.get_backend_name() != "sqlite":
                raise Invalid(
                    f"A project's database cannot be {parsed.get_backend_name()}.",
                    "Use SQLite (say nothing) or a postgresql:// URL.",
                )
        except sa.exc.ArgumentError as error:
            raise Invalid("The database's URL cannot be read.", "Write postgresql://HOST/NAME.") from error
        self.url = parsed
        self._patience: float = _BUSY_SECONDS
        self.dialect = parsed.get_backend_name()
        if parsed.get_backend_name() == "sqlite" and self.path is None:
            self.path = Path(str(parsed.database))
        try:
            self._engine = sa.create_engine(parsed, connect_args=self._connect_args())
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"PostgreSQL needs {error.name}.", "pip install 'mlinfra-lab[postgres]'"
            ) from error
        if self.dialect == "sqlite":
            sa.event.listen(self._engine, "connect", self._prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        self._writer = self._engine.execution_options(mlinfra_writes=True)

    def _connect_args(self) -> dict[str, Any]:
        if self.dialect == "sqlite":
            # Transactions are begun by us (see _begin_sqlite), so the driver must not.
            return {"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
        return {"connect_timeout": 10}

    def _prepare_sqlite(self, connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(self._patience * 1000)}")
        cursor.close()

    def wait_at_most(self, seconds: float) -> None:
        """How long to wait for somebody else's lock on SQLite; a heartbeat must not wait for long."""
        self._patience = seconds
        self._engine.dispose()

    def __repr__(self) -> str:
        return f"Storage({self.url.render_as_string(hide_password=True)})"

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    # -- versions ---------------------------------------------------------------------------------

    def version(self) -> str | None:
        """Schema version of the database, ``None`` while it is empty."""
        if self.path is not None and not self.path.exists():
            return None
        try:
            with self._engine.connect() as connection:
                if not sa.inspect(connection).has_table("alembic_version"):
                    return None
                return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        except sa.exc.DatabaseError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: sa.exc.DatabaseError) -> Unavailable:
        if self.path is not None and not isinstance(error, sa.exc.OperationalError):
            return Unavailable(
                f"{self.path} is damaged or no database of a project: {error.orig}.",
                "Put a copy of it back (with its -wal file, if there is one). If there is none, move it "
                "away: the project begins anew, and git, DVC and MLflow keep what they have.",
            )
        where = self.url.render_as_string(hide_password=True)
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no reason given"
        return Unavailable(f"The project's database {where} does not answer: {reason}.")

    def needs_migration(self) -> bool:
        """Whether `migrate` has something to do.

        Raises
        ------
        DatabaseTooNew
            When a newer version of this software wrote it; it is left alone.
        """
        version, known = self.version(), known_versions()
        if version is not None and version not in known:
            raise DatabaseTooNew(
                f"The project's database has schema {version}; this is mlinfra-lab with schema {known[-1]}.",
                "Upgrade: pip install -U mlinfra-lab. Nothing was changed.",
            )
        return version != known[-1]

    def migrate(self) -> None:
        """Bring the schema to this code's version; safe to call from several processes at once."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        if self.path is not None:
            refuse_network(self.path.parent)
        try:
            with self._writer.connect() as connection, connection.begin():
                if self.dialect == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                if self.needs_migration_of(connection):
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except sa.exc.OperationalError as error:  # any other error is a mistake in a migration
            raise self._unreachable(error) from error

    @staticmethod
    def needs_migration_of(connection: sa.Connection) -> bool:
        """`needs_migration` as seen inside a transaction that holds the lock."""
        if not sa.inspect(connection).has_table("alembic_version"):
            return True
        version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return version != known_versions()[-1]

    # -- reading and writing ----------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def unit(self, actor: str | None = None) -> Iterator[Unit]:
        """One transaction: change, edges, audit entry, follow-up task, feed entry, all or none.

        Parameters
        ----------
        actor
            Who does it, for the audit entry; ``"mlinfra"`` when nobody in particular.
        """
        with self._writer.connect() as connection, connection.begin():
            if self.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            unit = Unit(connection, actor or "mlinfra")
            yield unit
            unit.finish()

    def watcher(self) -> Watcher:
        """Something that tells cheaply whether another unit was committed since last asked."""
        if self.path is not None:
            return SqliteWatcher(self.path)
        return PostgresWatcher(self.url)


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock; it fails at once.
    # So whoever will write says so at the start.
    writes = connection.get_execution_options().get("mlinfra_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
