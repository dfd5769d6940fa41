"""Alerts: raised when a rule is broken, kept up to date while it is, closed when it holds again.

An endpoint has one alert at a time: whatever else breaks joins it. It is about the revision that answered
then, so a new one that answers well closes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mlinfra_lab.monitoring import loss, rules, store, words
from mlinfra_lab.monitoring.rules import Verdict
from mlinfra_lab.monitoring.seen import Seen, moment
from mlinfra_lab.monitoring.truths import METRICS
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.monitoring import Alert
from mlinfra_lab.settings import EndpointSettings
from mlinfra_lab.storage import Storage, Unit


def judge(storage: Storage, name: str, settings: EndpointSettings) -> None:
    """Hold an endpoint's windows against its rules, and raise, update or close its alert."""
    with storage.read() as connection:
        watched = store.watched(connection, name).get(name)
        if watched is None or watched.endpoint.serving is None:
            return
        number = watched.endpoint.serving
        seen = Seen(connection, watched, settings, time.time(), only=number)
    found = rules.verdicts(seen, number)
    broken = [verdict for verdict in found if verdict.broken]
    going = [alert for alert in seen.alerts if alert.state != "closed"]
    same = next((alert for alert in going if alert.revision == number), None)
    others = [alert for alert in going if alert.revision != number]
    with storage.unit() as unit:
        if broken and same is None:
            for alert in others:
                if alert.state != "acting":
                    _close(unit, seen, alert, "another version answers, and its rule is broken, too")
            if not any(alert.state == "acting" for alert in others):
                _raise(unit, seen, number, broken)
        elif broken and same is not None:
            _update(unit, seen, same, broken)
        elif same is not None and same.state in ("open", "acknowledged") and _holds(same, found):
            _close(unit, seen, same, "the rule holds again")
        if not broken and any(one.judged and not one.judged[-1].bad for one in found):
            for alert in others:
                if alert.state != "acting" and not any(one.run for one in found):
                    _close(unit, seen, alert, f"{seen.label(number)} answers, and its rules hold")


def _holds(alert: Alert, found: Sequence[Verdict]) -> bool:
    """Whether every rule of an alert holds again."""
    said = set(alert.detail.get("rules", ())) | {alert.rule}
    return all(verdict.holds for verdict in found if verdict.rule in said)


def _raise(unit: Unit, seen: Seen, number: int, broken: Sequence[Verdict]) -> None:
    if any(
        one.state != "closed" and one.revision == number
        for one in store.alerts_of(unit.connection, seen.name)
    ):
        return
    first = broken[0]
    explains, detail, message = described(seen, number, broken)
    alert = Alert(
        number=0,
        endpoint=seen.name,
        revision=number,
        rule=first.rule,
        state="open",
        since=moment(min(one.run[0].window.start for one in broken)),
        until=moment(max(one.run[-1].window.end for one in broken)),
        raised=now(),
        value=first.run[-1].value,
        limit=first.limit,
        message=message,
        explains=explains,
        detail=detail,
    )
    given = store.add_alert(unit, alert)
    unit.audit("raise", "alert", str(given), {"endpoint": seen.name, "rule": first.rule})
    unit.link("revision", f"{seen.name}.{number}", "alert", str(given), "watched by")
    event = None if seen.newest is None else moment(seen.newest)
    store.remember(unit, seen.name, "alert", message, number, event, {"alert": given})
    unit.changed("endpoint", seen.name, "updated")


def _update(unit: Unit, seen: Seen, alert: Alert, broken: Sequence[Verdict]) -> None:
    """What is going on gets its newest figures; its beginning, and what it was first, stay."""
    explains, detail, message = described(seen, alert.revision, broken, alert)
    own = next((one for one in broken if one.rule == alert.rule), broken[0])
    values = {
        "until": moment(max(one.run[-1].window.end for one in broken)),
        "value": own.run[-1].value if own.rule == alert.rule else alert.value,
        "message": message,
        "explains": explains,
        "detail": alert.detail | detail,
    }
    if any(getattr(alert, name) != value for name, value in values.items()):
        store.update_alert(unit, alert, **values)


def _close(unit: Unit, seen: Seen, alert: Alert, why: str) -> None:
    detail: JSON = alert.detail | {"closed_because": why}
    if seen.newest is not None:
        detail["closed_event"] = moment(seen.newest).isoformat()
    if store.update_alert(unit, alert, state="closed", closed=now(), detail=detail):
        unit.audit("close", "alert", str(alert.number), {"why": why})
        unit.changed("endpoint", seen.name, "updated")


def described(
    seen: Seen, number: int, broken: Sequence[Verdict], alert: Alert | None = None
) -> tuple[tuple[tuple[str, float], ...], JSON, str]:
    """What explains it, its figures, and what a person reads.

    Parameters
    ----------
    alert
        The one that is going on: it began when it began.
    """
    by_rule = {one.rule: one for one in broken}
    drifting, worse = by_rule.get("prediction_drift"), by_rule.get("quality")
    main = drifting or broken[0]
    windows = [one.window for one in main.run]
    explains = rules.explained(seen, number, windows)
    start = min(one.run[0].window.start for one in broken)
    since = moment(start) if alert is None else min(alert.since, moment(start))
    baseline = seen.baselines[number]
    metric = METRICS[loss.metric(baseline)]
    held_out = loss.held_out(baseline)
    sums = seen.sums(number, [name for window in windows for name in window.buckets])
    truths = sums.get("n", 0)
    ratio = None
    if held_out and truths >= seen.settings.least:
        ratio = sums["loss"] / truths / held_out
    quality = "" if ratio is None else f"{metric} is {words.compared(ratio)}"
    if drifting is not None or (alert is not None and alert.rule == "prediction_drift"):
        parts = [f"Predictions moved since {words.day(since)}", words.most_of(explains), quality]
    else:
        parts = [f"{metric[:1].upper()}{quality[1:]} than held out since {words.day(since)}"]
        if "times" in quality or "twice" in quality:
            parts = [parts[0].replace(" than held out", " as held out")]
        parts.append(words.most_of(explains).replace("of it", "of what changed"))
    detail: JSON = {
        "rules": {
            one.rule: {
                "since": moment(one.run[0].window.start).isoformat(),
                "until": moment(one.run[-1].window.end).isoformat(),
                "value": one.run[-1].value,
                "limit": one.limit,
                "windows": len(one.run),
            }
            for one in broken
        },
        "metric": metric,
        "held_out": held_out,
        "truths": int(truths),
    }
    if truths:
        detail |= {
            "loss": sums["loss"] / truths,
            "truth": sums["truth"] / truths,
            "score": sums["score"] / truths,
        }
    if worse is not None:
        detail["quality"] = worse.run[-1].value
    return explains, detail, "; ".join(part for part in parts if part) + "."


__all__ = ["described", "judge"]
