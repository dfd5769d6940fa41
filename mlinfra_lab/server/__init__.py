"""The project's pages over HTTP; the only room that knows tornado and Jupyter Server."""
