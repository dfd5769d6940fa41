"""Parts one below the other, and in two columns as on the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ipywidgets

from mlinfra_lab.widgets.base import VIEW_MIME, Widget

__all__ = ["Columns", "Stack"]


class Stack(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Parts one below the other, without gaps between charts: a hairline goes through all of them.

    Parameters
    ----------
    parts
        Widgets, from the top.
    """

    def __init__(self, *parts: ipywidgets.Widget) -> None:
        super().__init__(list(parts))
        self.add_class("mlm-stack")

    def still(self) -> tuple[str, str]:
        """The parts without a script."""
        found = [part.still() for part in self.children if isinstance(part, (Widget, Stack))]
        return "\n".join(html for html, _ in found), "\n".join(text for _, text in found if text)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        html, text = self.still()
        reference = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {"text/plain": text, "text/html": html, VIEW_MIME: reference}, {}


class Columns(Stack):
    """A wide column and a narrow one beside it; where there is little room, one below the other.

    Parameters
    ----------
    main, side
        Parts of the left and of the right column.
    """

    def __init__(self, main: Iterable[ipywidgets.Widget], side: Iterable[ipywidgets.Widget]) -> None:
        left, right = Stack(*main), Stack(*side)
        left.add_class("mlm-stack-main")
        right.add_class("mlm-stack-side")
        super().__init__(left, right)
        self.add_class("mlm-stack-columns")
