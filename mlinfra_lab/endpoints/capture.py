"""Every answered request, kept in append-only segments that survive ``kill -9``.

A segment ``captures/ENDPOINT/REVISION/SEGMENT.seg`` is a sequence of records: length and CRC32 of the
payload (little-endian ``u32`` each), then the payload as msgpack. The first payload is a `Header`, the
others are `Record` s, one a request. Each was written by one ``write(2)`` before its answer went out,
so what a crash can leave is a torn tail and nothing else, and no torn tail is ever appended to: a
writer always begins a new segment.

A prediction's id is ``endpoint.revision.segment.row``; rows count from 0 in each segment. Beside a
segment lies ``SEGMENT.idx`` with the place of a record every 64 KiB. It only saves reading: without it,
or with a part of it, everything is found all the same.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlinfra_lab.segments import ENTRY, FORMAT, FRAME, Header, Record, segments

__all__ = ["NotCaptured", "Syncer", "Writer", "sync_folder"]

log = logging.getLogger(__name__)

SEAL_AT = 64 * 2**20
_INDEX_EVERY = 64 * 2**10


class NotCaptured(Exception):
    """A record could not be written (disk full, folder gone); the segment is as it was before."""


class Writer:
    """Appends the requests of one revision; for one thread, beside the one that calls `sync`.

    Nothing is made before the first request.

    Parameters
    ----------
    captures
        The project's ``captures`` folder.
    columns, types
        See `Header`.
    limit
        Bytes after which a segment is sealed and the next one begun.
    folder
        Where the segments lie, when not in the revision's own folder.

    Attributes
    ----------
    segment
        Number of the segment that the last request went into.
    row
        How many rows that segment holds.
    """

    def __init__(
        self,
        captures: Path,
        endpoint: str,
        revision: int,
        columns: Sequence[str] = (),
        types: Sequence[str] = (),
        limit: int = SEAL_AT,
        folder: Path | None = None,
    ) -> None:
        self._captures = captures
        self._folder = folder or captures / endpoint / str(revision)
        self._endpoint, self._revision = endpoint, revision
        self._columns, self._types = tuple(columns), tuple(types)
        self._limit = limit
        self._encode = msgspec.msgpack.Encoder().encode_into
        self._buffer = bytearray()
        self._fd = -1
        self._size = self.row = self._indexed = 0
        # What `sync` has to do, in order; deques because two threads meet here without a lock.
        self._entries: deque[tuple[int, bytes]] = deque()
        self._full: deque[int] = deque()
        self._synced: tuple[int, int] = (0, 0)
        self._files: dict[int, Path] = {}
        self._syncing = threading.Lock()
        self._closed = False
        self.segment = 0
        self._next = 0

    def _look(self) -> None:
        """Make the folder, and go on behind what stands in it."""
        inside = self._folder.relative_to(self._captures).parts
        for depth in range(len(inside) + 1):
            self._captures.joinpath(*inside[:depth]).mkdir(exist_ok=True, mode=0o700)
        earlier = segments(self._folder)
        for _, path in earlier:
            path.chmod(0o400)  # whoever wrote it is gone: sealed as it is, torn tail included
        self._next = earlier[-1][0] + 1 if earlier else 1

    def _begin(self) -> None:
        if not self._next:
            self._look()
        while True:
            path = self._folder / f"{self._next:06d}.seg"
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
            except FileExistsError:
                self._next += 1
        header = Header(
            format=FORMAT,
            endpoint=self._endpoint,
            revision=self._revision,
            segment=self._next,
            columns=self._columns,
            types=self._types,
            created=time.time(),
        )
        data = msgspec.msgpack.encode(header)
        data = FRAME.pack(len(data), zlib.crc32(data)) + data
        try:
            if os.write(fd, data) != len(data):
                raise OSError("the disk is full")
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._fd, self.segment = fd, self._next
        self._files[fd] = path
        self._next += 1
        self._size, self.row, self._indexed = len(data), 0, 0

    def append(
        self,
        rows: Sequence[Any],
        predictions: Sequence[Any],
        *,
        at: float,
        request: str,
        latency: float,
        event_times: Sequence[float | None] | None = None,
        columns: Sequence[str] | None = None,
        n: int | None = None,
    ) -> int:
        """Write one request by one ``write(2)``; see `Record` for the parameters.

        Parameters
        ----------
        n
            How many rows it counts for, when they are not kept here.

        Returns
        -------
        int
            Number of the first row in `segment`.

        Raises
        ------
        NotCaptured
            Nothing of it was kept.
        """
        try:
            self._ready()
            first, n = self.row, len(rows) if n is None else n
            self._put(
                Record(first, n, at, request, latency, rows, predictions, event_times, columns), first, n
            )
        except OSError as error:
            raise NotCaptured(f"{self._folder}: {error.strerror or error}") from error
        return first

    def _ready(self) -> None:
        """See that there is a segment to append to."""
        if self._closed:
            raise NotCaptured(f"{self._folder} is closed")
        if self._fd < 0 or self._size >= self._limit:
            self._seal()
            self._begin()

    def _put(self, record: msgspec.Struct, first: int, n: int) -> None:
        """Write one record, which begins with row ``first`` and has ``n``."""
        buffer = self._buffer
        self._encode(record, buffer, 8)
        body = memoryview(buffer)[8:]
        crc, length = zlib.crc32(body), len(body)
        body.release()
        FRAME.pack_into(buffer, 0, length, crc)
        self._write(buffer)
        if self._size >= self._indexed:
            self._entries.append((self._fd, ENTRY.pack(self._size, first)))
            self._indexed = self._size + _INDEX_EVERY
        self._size += length + 8
        self.row += n

    def _write(self, data: bytearray) -> None:
        try:
            if os.write(self._fd, data) == len(data):
                return
            raise OSError("the disk is full")
        except OSError:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                # It cannot be mended, so nothing may be appended: a reader stops at the torn record.
                self._seal()
            raise

    def _seal(self) -> None:
        if self._fd >= 0:
            self._full.append(self._fd)
            self._fd = -1

    def sync(self) -> None:
        """Bring everything appended so far to the disk, seal what is full; off the event loop."""
        with self._syncing:
            # Full segments are taken first: whatever was to be indexed in them is in the queue by then.
            full = [self._full.popleft() for _ in range(len(self._full))]
            entries: dict[int, list[bytes]] = {}
            for _ in range(len(self._entries)):
                fd, entry = self._entries.popleft()
                entries.setdefault(fd, []).append(entry)
            try:
                for fd, packed in entries.items():
                    with open(self._files[fd].with_suffix(".idx"), "ab", opener=_private) as index:
                        index.write(b"".join(packed))
                now = (self.segment, self._size)
                if self._fd >= 0 and now != self._synced:
                    os.fsync(self._fd)
                    if now[0] != self._synced[0]:
                        sync_folder(self._folder)  # a new file's name is the folder's to keep
                    self._synced = now
            finally:
                for fd in full:
                    self._finish(fd)

    def _finish(self, fd: int) -> None:
        # The number may be given to the next segment as soon as it is closed.
        del self._files[fd]
        try:
            os.fsync(fd)
            os.fchmod(fd, 0o400)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Seal the open segment and bring it to the disk; nothing can be appended after."""
        self._closed = True
        self._seal()
        self.sync()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


class Syncer:
    """A thread that calls `Writer.sync` of all its writers once a second."""

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self._writers: tuple[Writer, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-sync", daemon=True)
        self._thread.start()

    def add(self, writer: Writer) -> None:
        """Take a writer into care."""
        self._writers = (*self._writers, writer)

    def remove(self, writer: Writer) -> None:
        """Leave a writer to its owner."""
        self._writers = tuple(other for other in self._writers if other is not writer)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            for writer in self._writers:
                try:
                    writer.sync()
                except OSError:
                    log.exception("captures could not be brought to the disk")

    def close(self) -> None:
        """End the thread; the writers are their owners' to close."""
        self._stop.set()
        self._thread.join()
