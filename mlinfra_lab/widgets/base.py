"""What all widgets have in common: the bundle, sent once, and a picture that a saved notebook keeps."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mlinfra_lab.errors import Unavailable

BUNDLE = Path(__file__).parent / "static" / "monitor.js"
VIEW_MIME = "application/vnd.jupyter.widget-view+json"

# A widget's script travels with each widget: this one fetches the bundle from a model that all share.
_LOADER = """
const loaded = (globalThis.mlinfraBundles ??= new Map());
export default {
  async render({ model, el }) {
    const source = await model.widget_manager.get_model(model.get("bundle").replace("IPY_MODEL_", ""));
    const digest = source.get("digest");
    if (!loaded.has(digest)) {
      const blob = new Blob([source.get("code")], { type: "text/javascript" });
      loaded.set(digest, import(URL.createObjectURL(blob)));
    }
    return (await loaded.get(digest)).default.render({ model, el });
  },
};
"""


def script() -> str:
    """The bundle's text.

    Raises
    ------
    Unavailable
        When it was not built.
    """
    try:
        return BUNDLE.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Unavailable(
            f"The widgets' script {BUNDLE} is not there.",
            "In a checkout, build it: make setup (it wants Node 18 or newer).",
        ) from error


class _Bundle(anywidget.AnyWidget):
    """Holds the script, once a kernel; shows nothing."""

    _esm = "export default {};"
    code = traitlets.Unicode().tag(sync=True)
    digest = traitlets.Unicode().tag(sync=True)


@cache
def _bundle() -> str:
    code = script()
    made = _Bundle(code=code, digest=hashlib.sha256(code.encode()).hexdigest()[:16])
    return f"IPY_MODEL_{made.model_id}"


class Widget(anywidget.AnyWidget):
    """A part of a page.

    What it shows comes from ``source``, the model of a `Monitor`, else from ``data``.
    """

    _esm = _LOADER
    kind = traitlets.Unicode().tag(sync=True)
    bundle = traitlets.Unicode().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    data = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    options = traitlets.Dict().tag(sync=True)

    def __init__(self, kind: str, **traits: Any) -> None:
        super().__init__(kind=kind, bundle=_bundle(), **traits)

    def still(self) -> tuple[str, str]:
        """HTML and text that tell the same without a script."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        html, text = self.still()
        reference = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {"text/plain": text, "text/html": html, VIEW_MIME: reference}, {}

    def __repr__(self) -> str:
        return self.still()[1]
