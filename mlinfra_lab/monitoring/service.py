"""Monitoring as faces see it: the page's view, alerts and what is done about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlinfra_lab.errors import Conflict, Invalid, NotFound
from mlinfra_lab.monitoring import store
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch, Wanted
from mlinfra_lab.schema.endpoints import Endpoint, Paired, Prediction
from mlinfra_lab.schema.monitoring import RANGES, Alert, Baseline, Problem, Range, View
from mlinfra_lab.settings import EndpointSettings
from mlinfra_lab.storage import Storage, launches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MonitoringService"]

KIND, OWNER = "monitor", "monitors"
MODULE = "mlinfra_lab.monitoring.process"
_RECENT = 50

Alerts = list[Alert]
Retrain = Callable[[Alert, Mapping[str, Any]], Alert]


class MonitoringService:
    """How the project's endpoints do.

    Parameters
    ----------
    state
        The project's state folder.
    settings
        ``[endpoints.NAME]`` by name; one that is not there has the defaults.
    actor
        Who acts.
    find
        An endpoint by its name.
    predictions
        The newest captured rows of an endpoint.
    retrain
        Starts the job that answers an alert; see `mlinfra_lab.retrain`.
    """

    def __init__(
        self,
        state: Path,
        storage: Storage,
        settings: Mapping[str, EndpointSettings],
        actor: str,
        find: Callable[[str], Endpoint],
        predictions: Callable[[str, int], Sequence[Prediction]],
        retrain: Retrain,
    ) -> None:
        self._state = state
        self._storage = storage
        self._settings = settings
        self._actor = actor
        self._find = find
        self._predictions = predictions
        self._retrain = retrain

    def settings(self, name: str) -> EndpointSettings:
        """What ``mlinfra.toml`` says of an endpoint."""
        return self._settings.get(name) or EndpointSettings()

    # -- looking ----------------------------------------------------------------------------------

    def view(self, name: str, range: Range = "all") -> View:
        """Everything the monitoring page shows.

        Parameters
        ----------
        range
            How far back from the newest row: ``day``, ``week``, ``month`` or ``all``; event time.

        Raises
        ------
        NotFound
            When there is no such endpoint.
        """
        from mlinfra_lab.monitoring.seen import Seen
        from mlinfra_lab.monitoring.view import view_of

        if range not in RANGES:
            raise Invalid(f"“{range}” is no range.", f"One of {', '.join(RANGES)}.")
        endpoint = self._find(name)
        with self._storage.read() as connection:
            watched = store.watched(connection, name)[name]
            seen = Seen(connection, watched, self.settings(name), time.time(), range)
        recent = self._predictions(name, _RECENT)
        return view_of(seen, endpoint, recent, self._state / "captures", range)

    def baseline(self, name: str, revision: int) -> Baseline:
        """What a revision of an endpoint was trained on.

        Raises
        ------
        NotFound
            When it is not known, or not yet.
        """
        with self._storage.read() as connection:
            found = store.baseline_of(connection, name, revision)
        if found is None:
            raise NotFound(
                f"No baseline of revision {revision} of endpoint “{name}” is known.",
                "Log one in the model's notebook with project.monitoring.profile(…), or send 1,000 rows.",
            )
        return found

    def paired(self, endpoint: str, candidate: int, stable: int) -> Paired:
        """Quality of two revisions on the very rows that both have answered and whose truth is known."""
        from mlinfra_lab.monitoring.truths import paired

        with self._storage.read() as connection:
            baseline = store.baseline_of(connection, endpoint, candidate)
            sums = store.quality_of(connection, endpoint, candidate, store.BESIDE)
        return paired(baseline, sums, str(stable))

    def alerts(self, name: str | None = None) -> Alerts:
        """Alerts, newest first; of one endpoint when it is named.

        Raises
        ------
        NotFound
            When there is no such endpoint.
        """
        if name is not None:
            self._find(name)
        with self._storage.read() as connection:
            return store.alerts_of(connection, name)

    def alert(self, number: int) -> Alert:
        """One alert.

        Raises
        ------
        NotFound
            When there is none with this number.
        """
        with self._storage.read() as connection:
            found = store.alert(connection, number)
            newest = None if found is not None else store.alerts_of(connection)[:1]
        if found is None:
            hint = f"The newest is alert {newest[0].number}." if newest else "There are no alerts yet."
            raise NotFound(f"There is no alert {number}.", hint)
        return found

    # -- asking -----------------------------------------------------------------------------------

    def acknowledge(self, number: int) -> Alert:
        """Say that somebody has seen an alert and looks after it."""
        known = self.alert(number)
        if known.state == "open":
            with self._storage.unit(self._actor) as unit:
                if store.update_alert(unit, known, state="acknowledged", acknowledged_by=unit.actor):
                    unit.audit("acknowledge", "alert", str(number))
        return self.alert(number)

    def act(self, number: int, parameters: Mapping[str, Any] | None = None) -> Alert:
        """Do what an alert's rule offers: run the training again on the newest data.

        Parameters
        ----------
        parameters
            In place of those that the serving model was trained with.

        Returns
        -------
        Alert
            With the job that was started.

        Raises
        ------
        NotFound
            No such alert, or what the serving model was trained with is gone.
        Conflict
            When its action runs already, or the alert is over.
        """
        known = self.alert(number)
        if known.state == "acting":
            raise Conflict(f"Alert {number} is being acted on.", _follow(known))
        if known.state == "closed":
            gave = f"It gave {known.model}." if known.model else None
            raise Conflict(f"Alert {number} is closed.", gave)
        # One that was answered may be acted on again: what came of it can have been rolled back since.
        return self._retrain(known, dict(parameters or {}))

    def profile(
        self,
        inputs: pd.DataFrame,
        held_out: pd.DataFrame,
        predictions: Any,
        truth: Any = None,
        positive: Any = None,
        times: Any = None,
        *,
        problem: Problem | None = None,
        classes: Sequence[Any] | None = None,
    ) -> Baseline:
        """Write what a model was trained on, and how it answers, into the active run.

        Publishing the run's model finds it there and holds the traffic against it; for the parameters see
        `mlinfra_lab.monitoring.profile.make_baseline`.

        Raises
        ------
        Invalid
            No run is active, or what was given does not belong together.
        """
        from mlinfra_lab.monitoring import profile

        return profile.log(
            inputs, held_out, predictions, truth, positive, times, problem=problem, classes=classes
        )

    # -- for the controller's loop ----------------------------------------------------------------

    def wanted(self) -> list[Wanted]:
        """One monitor while anything is to answer."""
        with self._storage.read() as connection:
            desired = store.any_desired(connection)
        return [Wanted(kind=KIND, owner=OWNER, module=MODULE)] if desired else []

    def running(self) -> bool:
        """Whether the monitor runs."""
        with self._storage.read() as connection:
            found = launches.opened(connection, [KIND])
        return any(one.state == "running" and launches.alive(one) is not False for one in found)

    def ended(self, launch: Launch) -> None:
        """The monitor is over; the next one goes on where its last unit stood."""

    def acting(self) -> Alerts:
        """Alerts whose action is under way, and those that may act by themselves, oldest first."""
        with self._storage.read() as connection:
            return store.in_state(connection, "acting", "open", "acknowledged")


def _follow(alert: Alert) -> str | None:
    since = "" if alert.acted is None else f" since {(now() - alert.acted).total_seconds():.0f} s"
    return f"Job {alert.job} runs{since}: mlinfra job show {alert.job}" if alert.job else None
