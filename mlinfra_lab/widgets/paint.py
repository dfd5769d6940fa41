"""Colours of what is drawn without a script: JupyterLab's, and after each one that suits any page."""

from __future__ import annotations

from mlinfra_lab.schema.monitoring import Tone

TEXT = "var(--jp-ui-font-color1, inherit)"
DIM = "var(--jp-ui-font-color2, #757575)"
LINE = "var(--jp-border-color2, #e0e0e0)"
PAGE = "var(--jp-layout-color1, #fff)"
SOFT = "var(--jp-layout-color2, #eee)"
FONT = "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-variant-numeric:tabular-nums"
COLOURS: dict[Tone, str] = {
    "plain": TEXT,
    "now": "var(--jp-brand-color1, #1976d2)",
    "older": "var(--jp-layout-color4, #757575)",
    "alarm": "var(--jp-warn-color1, #f57c00)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "well": "var(--jp-success-color1, #388e3c)",
}


def tag(name: str, style: str, inner: str) -> str:
    """An element; ``inner`` is HTML."""
    styled = f' style="{style}"' if style else ""
    return f"<{name}{styled}>{inner}</{name}>"


def shorten(text: str, most: int = 32) -> str:
    """A long text without its middle: its end tells siblings apart."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def mixed(colour: str, part: float) -> str:
    """A colour over the page's, ``part`` of it from 0 to 1."""
    return f"color-mix(in srgb, {colour} {100 * part:.0f}%, {PAGE})"
