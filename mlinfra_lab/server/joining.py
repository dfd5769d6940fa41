"""A kernel joins a page: Voila runs the page's notebook, and its cells follow what was drawn.

Imported with the first page that wants it; a page that is only looked at needs none of this.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import FileFindHandler, JupyterHandler
from jupyterlab_server.themes_handler import ThemesHandler
from tornado.web import RequestHandler, authenticated
from voila.configuration import VoilaConfiguration
from voila.notebook_renderer import NotebookRenderer
from voila.paths import collect_static_paths, collect_template_paths
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.utils import get_data_dir, get_page_config, get_voila_labextensions_path

from mlinfra_lab.errors import Failed
from mlinfra_lab.project import Project
from mlinfra_lab.server.handlers.base import Handler
from mlinfra_lab.server.notebooks import NOTEBOOK, own_notebook, shipped_notebook, was_changed

log = logging.getLogger(__name__)
TEMPLATE = "mlinfra"
_APPS = ["voila", "nbconvert"]
_ERROR = re.compile(r"<!--mlinfra-error (.*)-->")
_PATIENCE_SECONDS = 60
# What the notebook that comes with us needs of the lab's front end; a person's own may need more.
_FRONT_END = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]


class Contents:
    """The one notebook there is, as Voila asks Jupyter's contents for it.

    Parameters
    ----------
    endpoint
        Put into the notebook as its parameter ``endpoint``.
    """

    def __init__(self, project: Project, endpoint: str) -> None:
        self._path = own_notebook(project) or shipped_notebook()
        self._endpoint = endpoint

    async def get(self, path: str, **_: Any) -> dict[str, Any]:
        """See `jupyter_server.services.contents.manager.ContentsManager`."""
        notebook = nbformat.read(self._path, as_version=4)
        cells = notebook.cells
        for place, cell in enumerate(cells):
            if "parameters" in cell.metadata.get("tags", []):
                injected = nbformat.v4.new_code_cell(f"endpoint = {self._endpoint!r}")
                cells.insert(place + 1, injected)
                break
        return {"type": "notebook", "path": path, "content": notebook}

    def file_exists(self, path: str) -> bool:
        """No picture is put into a cell's text."""
        return False


class Joining:
    """One kernel for one page.

    Parameters
    ----------
    theme
        ``light`` or ``dark``.
    settings
        Of the server's application.
    """

    def __init__(self, project: Project, endpoint: str, theme: str, settings: dict[str, Any]) -> None:
        self._project = project
        self._endpoint = endpoint
        self._theme = theme
        self._settings = settings
        self._manager = settings["kernel_manager"]
        self._kernel: str | None = None
        self._renderer: NotebookRenderer | None = None

    async def parts(self) -> AsyncIterator[str]:
        """The cells as HTML, as they come.

        Raises
        ------
        Failed
            When a cell failed, or the kernel died in it.
        Exception
            Of Voila, of the kernel's start; `TimeoutError` when nothing came for long.
        """
        renderer = self._renderer = self._make()
        await renderer.initialize(theme=self._theme)
        kernel: str = await ensure_async(
            self._manager.start_kernel(
                kernel_name=renderer.notebook.metadata.kernelspec.name,
                path=str(Path(NOTEBOOK).parent),
                env={**os.environ, "MLINFRA_ENDPOINT": self._endpoint},
            )
        )
        self._kernel = kernel
        parts = aiter(renderer.generate_content_generator(kernel, self._manager.get_kernel(kernel)))
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    part, _ = await anext(parts)
            except StopAsyncIteration:
                return
            if (failed := _ERROR.search(part)) is not None:
                raise Failed(str(json.loads(failed[1])))
            yield part

    async def end(self) -> None:
        """Shut the kernel down, and close what was open to it."""
        # An open socket would keep the server from ending.
        client = getattr(getattr(self._renderer, "executor", None), "kc", None)
        if client is not None:
            client.stop_channels()
        if self._kernel is not None and self._kernel in self._manager:
            await ensure_async(self._manager.shutdown_kernel(self._kernel, now=True))

    def _make(self) -> NotebookRenderer:
        own = was_changed(self._project)
        configuration = VoilaConfiguration(
            template=TEMPLATE,
            allow_template_override="NO",
            show_tracebacks=True,
            extension_allowlist=[] if own else _FRONT_END,
            extension_denylist=[],
            extension_config={},
        )
        page_config = get_page_config("/", self._settings, log, configuration)
        return NotebookRenderer(
            voila_configuration=configuration,
            traitlet_config=self._settings["serverapp"].config,
            notebook_path=NOTEBOOK,
            template_paths=collect_template_paths(_APPS, TEMPLATE),
            config_manager=self._settings["config_manager"],
            contents_manager=Contents(self._project, self._endpoint),
            base_url="/",
            kernel_spec_manager=self._settings["kernel_spec_manager"],
            page_config=page_config,
            mathjax_config=page_config["mathjaxConfig"],
            mathjax_url=page_config["fullMathjaxUrl"],
        )


def guarded(
    base: type[RequestHandler], verbs: tuple[str, ...], action: str, resource: str
) -> type[RequestHandler]:
    """One of Voila's handlers, for those who were let in only.

    Parameters
    ----------
    verbs
        What it answers.
    action, resource
        What that is authorized as.
    """
    bases = (base,) if issubclass(base, JupyterHandler) else (JupyterHandler, base)

    def guard(verb: str) -> Any:
        inner = getattr(base, verb)

        async def answer(self: RequestHandler, *args: Any, **kwargs: Any) -> None:
            await ensure_async(inner(self, *args, **kwargs))

        return authenticated(authorized(action, resource)(answer))

    methods = {verb: guard(verb) for verb in verbs} | {"get_login_url": Handler.get_login_url}
    return type(f"Guarded{base.__name__}", bases, methods)


def routes() -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """What Voila's front end asks for, and no more of Voila: no tree, no files, no rendering by path."""
    extensions = get_voila_labextensions_path([])
    themes = str(Path(get_data_dir()) / "themes")
    get = ("get", "head")
    return [
        (r"/voila/templates/(.*)", guarded(TemplateStaticFileHandler, get, "read", "pages"), {}),
        (
            r"/voila/static/(.*)",
            guarded(MultiStaticFileHandler, get, "read", "pages"),
            {"paths": collect_static_paths(_APPS, TEMPLATE)},
        ),
        (
            r"/voila/api/themes/(.*)",
            guarded(ThemesHandler, get, "read", "pages"),
            {
                "themes_url": "/voila/api/themes",
                "path": themes,
                "labextensions_path": extensions,
                "no_cache_paths": ["/"],
            },
        ),
        (
            r"/voila/labextensions/(.*)",
            guarded(FileFindHandler, get, "read", "pages"),
            {"path": extensions, "no_cache_paths": ["/"]},
        ),
        (
            r"/voila/api/shutdown/([\w-]+)",
            guarded(VoilaShutdownKernelHandler, ("post",), "end", "kernels"),
            {},
        ),
    ]
