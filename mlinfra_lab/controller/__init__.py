"""The one process that makes what is desired so."""
