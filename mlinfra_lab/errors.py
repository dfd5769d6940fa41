"""The exceptions that a person sees.

::

    MLInfraError                    500 internal
    ├── Invalid                     400 invalid              what was asked for cannot be done as it was said
    │   ├── InvalidSettings         400 invalid_settings     a mistake in mlinfra.toml
    │   ├── InvalidNotebook         400 invalid_notebook     not a notebook we can run
    │   ├── InvalidParameter        400 invalid_parameter    unknown name or wrong type
    │   └── InvalidRequest          400 invalid_request      a row that does not fit a model's signature
    ├── Unauthorized                401 unauthorized         no token, or a wrong one
    ├── NotFound                    404 not_found            no such thing
    │   └── NoProject               404 no_project           no mlinfra.toml here or above
    ├── Conflict                    409 conflict             the thing is in a state that forbids it
    ├── TooLarge                    413 too_large            a body over the limit
    ├── Failed                      500 failed               work was begun and did not succeed
    │   └── Interrupted             500 interrupted          the process that did it was lost
    └── Unavailable                 503 unavailable          something that is needed is not there now
        ├── ControllerDown          503 controller_down      no controller, and none could be started
        ├── NoRoom                  507 no_room              what was sent could not be kept
        ├── MissingDependency       503 missing_dependency   an extra that is not installed
        └── DatabaseTooNew          503 database_too_new     written by a newer version of this software

Each class has an HTTP status and a stable code; each instance a message (what was wrong, with which
thing) and a hint (what to do).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from mlinfra_lab.schema.tasks import Failure

__all__ = [
    "Conflict",
    "ControllerDown",
    "DatabaseTooNew",
    "Failed",
    "Interrupted",
    "Invalid",
    "InvalidNotebook",
    "InvalidParameter",
    "InvalidRequest",
    "InvalidSettings",
    "MLInfraError",
    "MissingDependency",
    "NoProject",
    "NoRoom",
    "NotFound",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "from_failure",
    "to_failure",
]


class MLInfraError(Exception):
    """Base of every error that is meant for a person.

    Parameters
    ----------
    message
        What was wrong, with which thing. One sentence.
    hint
        What to do about it.
    detail
        More for programs; must be JSON.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, hint: str | None = None, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.hint, self.detail))


class Invalid(MLInfraError):
    """What was asked for cannot be done as it was said."""

    status, code = 400, "invalid"


class InvalidSettings(Invalid):
    """A mistake in ``mlinfra.toml`` or in an environment variable."""

    code = "invalid_settings"


class InvalidNotebook(Invalid):
    """Not a notebook that can be run."""

    code = "invalid_notebook"


class InvalidParameter(Invalid):
    """A parameter the notebook does not have, or of the wrong type."""

    code = "invalid_parameter"


class InvalidRequest(Invalid):
    """A request to an endpoint that does not fit the model's signature."""

    code = "invalid_request"


class Unauthorized(MLInfraError):
    """No token, or a wrong one."""

    status, code = 401, "unauthorized"


class NotFound(MLInfraError):
    """No such thing."""

    status, code = 404, "not_found"


class NoProject(NotFound):
    """Neither this folder nor one above it is a project."""

    code = "no_project"


class Conflict(MLInfraError):
    """The thing is in a state that forbids what was asked."""

    status, code = 409, "conflict"


class TooLarge(MLInfraError):
    """A body over the limit."""

    status, code = 413, "too_large"


class Failed(MLInfraError):
    """Work was begun and did not succeed."""

    code = "failed"


class Interrupted(Failed):
    """The process that did the work was lost, and the work may not be repeated by itself."""

    code = "interrupted"


class Unavailable(MLInfraError):
    """Something that is needed is not there now."""

    status, code = 503, "unavailable"


class ControllerDown(Unavailable):
    """No controller, and none could be started."""

    code = "controller_down"


class NoRoom(Unavailable):
    """What was sent could not be kept: the disk is full."""

    status, code = 507, "no_room"


class MissingDependency(Unavailable):
    """An optional dependency is not installed, or does not work on this machine."""

    code = "missing_dependency"


class DatabaseTooNew(Unavailable):
    """The project's database was written by a newer version of this software."""

    code = "database_too_new"


def _classes(base: type[MLInfraError]) -> dict[str, type[MLInfraError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        found |= _classes(child)
    return found


def to_failure(error: BaseException) -> Failure:
    """Turn any exception into the form that rows, REST and ``--json`` carry.

    Parameters
    ----------
    error
        An ``MLInfraError`` keeps its code, message and hint; anything else becomes ``internal``
        with its type and text as message.
    """
    from mlinfra_lab.schema.tasks import Failure

    if isinstance(error, MLInfraError):
        return Failure(code=error.code, message=error.message, hint=error.hint, detail=error.detail)
    text = str(error).strip()
    name = type(error).__name__
    return Failure(code=MLInfraError.code, message=f"{name}: {text}" if text else name)


def from_failure(failure: Failure) -> MLInfraError:
    """Rebuild the exception that `to_failure` wrote down; an unknown code gives `Failed`."""
    cls = _classes(MLInfraError).get(failure.code, Failed)
    return cls(failure.message, failure.hint, failure.detail)
