"""Running a notebook through papermill, watched cell by cell."""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.utils import merge_kwargs, remove_args
from traitlets.config import Config

from mlinfra_lab.launched import Claim
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.jobs import CellTime, JobProgress
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.tasks.report import write

log = logging.getLogger(__name__)
SHORTEST_SECRET = 4
"""Shorter values (a flag, a number) would take words out of ordinary output."""
DEAD_KERNEL = 138
"""What papermill's command exits with when the kernel died."""


class Watch:
    """What is known of the notebook while it runs: cells, kernel, and how to stop it.

    Parameters
    ----------
    path
        The progress file.
    grace
        Seconds between interrupting the kernel and killing it.
    secrets
        Variables given to the job: their values do not appear in what it prints.
    """

    def __init__(self, path: Path, claim: Claim, grace: float, secrets: Mapping[str, str]) -> None:
        # The longest first, so that no secret is cut up by a shorter one it contains.
        by_length = sorted(secrets.items(), key=lambda item: -len(item[1]))
        self._secrets = [(value, f"‹{name}›") for name, value in by_length if len(value) >= SHORTEST_SECRET]
        self.times: list[CellTime] = []
        self.stopped = False
        self._path = path
        self._claim = claim
        self._grace = grace
        self._cells = 0
        self._kernel: psutil.Process | None = None

    def redact(self, value: Any) -> Any:
        """A message's content without the secrets in its texts."""
        if isinstance(value, str):
            for secret, name in self._secrets:
                value = value.replace(secret, name)
            return value
        if isinstance(value, dict):
            return {key: self.redact(one) for key, one in value.items()}
        return [self.redact(one) for one in value] if isinstance(value, list) else value

    def kernel_up(self, pid: int, cells: int) -> None:
        """The kernel runs; whoever finds this runner dead must know of it."""
        self._cells = cells
        self._kernel = psutil.Process(pid)
        self._claim.info({"children": [[pid, self._kernel.create_time()]]})
        self._write(None)
        if self.stopped:
            self._interrupt()

    def cell_started(self, index: int, id: str | None) -> None:
        """A cell begins."""
        self.times.append(CellTime(index=index, id=id, started=now()))
        self._write(index)

    def cell_ended(self, index: int, failed: bool) -> None:
        """A cell is over."""
        last = self.times.pop()
        self.times.append(msgspec.structs.replace(last, ended=now(), failed=failed))
        self._write(None)

    def _write(self, current: int | None) -> None:
        write(self._path, JobProgress(cells=self._cells, current=current, times=tuple(self.times)))

    def stop(self) -> None:
        """Interrupt the cell that runs; kill the kernel when it does not heed."""
        if self.stopped:
            return
        self.stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._kernel is None:
            return
        self._signal(signal.SIGINT)
        timer = threading.Timer(self._grace, self._signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _signal(self, what: signal.Signals) -> None:
        try:
            if self._kernel is not None:
                self._kernel.send_signal(what)
        except psutil.NoSuchProcess:
            log.info("the kernel was gone before %s", what.name)


class WatchedClient(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client that says when its kernel is up."""

    watch: Watch

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """As papermill does, after taking out what must not be written down."""
        content = self.watch.redact(msg["content"])
        return super().process_message(msg | {"content": content}, cell, cell_index)

    def papermill_execute_cells(self) -> None:
        """As papermill does, the watcher being told first."""
        provisioner = self.km.provisioner
        self.watch.kernel_up(provisioner.pid, len(self.nb.cells))
        super().papermill_execute_cells()


class WatchedEngine(NBClientEngine):  # type: ignore[misc]
    """papermill's own engine, watched."""

    watch: Watch

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: float = 60,
        execution_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        """See papermill; only the cell hooks are added."""
        watch = cls.watch
        begin, fail, complete = nb_man.cell_start, nb_man.cell_exception, nb_man.cell_complete
        failed: set[int] = set()

        def cell_start(cell: Any, cell_index: int, **more: Any) -> None:
            watch.cell_started(cell_index, cell.get("id"))
            begin(cell, cell_index, **more)

        def cell_exception(cell: Any, cell_index: int, **more: Any) -> None:
            failed.add(cell_index)
            fail(cell, cell_index, **more)

        def cell_complete(cell: Any, cell_index: int, **more: Any) -> None:
            complete(cell, cell_index, **more)
            watch.cell_ended(cell_index, cell_index in failed)

        nb_man.cell_start, nb_man.cell_exception, nb_man.cell_complete = (
            cell_start,
            cell_exception,
            cell_complete,
        )
        options = merge_kwargs(
            remove_args(["execution_timeout", "log_output"], **kwargs),
            kernel_name=kernel_name,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            startup_timeout=start_timeout,
            timeout=execution_timeout,
            log=logging.getLogger("papermill"),
        )
        # A kernel on TCP can be listened to by everybody on the machine; a socket in a folder of our
        # own cannot. mkdtemp makes it readable for this user alone, and its path is short enough.
        with tempfile.TemporaryDirectory(prefix="mlinfra-") as folder:
            sockets = {"transport": "ipc", "ip": str(Path(folder) / "k")}
            client = WatchedClient(nb_man, config=Config({"KernelManager": sockets}), **options)
            client.watch = watch
            client.execute()


def execute(
    source: Path, output: Path, folder: Path, parameters: dict[str, Any], kernel: str, watch: Watch
) -> tuple[int, Failure | None]:
    """Run the notebook as papermill's command would.

    Parameters
    ----------
    source, output
        Notebook to read, and where the executed one is written as it goes.
    folder
        Working directory of the kernel.

    Returns
    -------
    exit_code
        papermill's own.
    error
        What went wrong, naming the cell.
    """
    engine = type("Engine", (WatchedEngine,), {"watch": watch})
    papermill_engines.register("mlinfra", engine)
    try:
        papermill.execute_notebook(
            str(source),
            str(output),
            parameters,
            engine_name="mlinfra",
            kernel_name=kernel,
            cwd=str(folder),
            progress_bar=False,
            log_output=True,
        )
    except PapermillExecutionError as error:
        cell = _number(watch)
        return 1, Failure(
            code="failed",
            message=f"Cell {cell} failed: {error.ename}: {error.evalue}",
            hint="Open the output notebook: it ends at the cell that failed.",
            detail={
                "cell": cell,
                "id": watch.times[-1].id if watch.times else None,
                "ename": error.ename,
                "evalue": error.evalue,
                "source": error.source,
                "traceback": list(error.traceback),
            },
        )
    except DeadKernelError as error:
        cell = _number(watch)
        return DEAD_KERNEL, Failure(
            code="failed",
            message=f"The kernel died in cell {cell}: {error}.",
            hint="It may have run out of memory; see the job's log.",
            detail={"cell": cell},
        )
    return 0, None


def _number(watch: Watch) -> int | None:
    """Number of the cell that ran last, counted from 1 as people do."""
    return watch.times[-1].index + 1 if watch.times else None
