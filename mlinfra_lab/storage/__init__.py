"""Rows: the tables, one transaction for everything (`Unit`), and what changed (`Watcher`)."""

from mlinfra_lab.storage.database import Storage
from mlinfra_lab.storage.rows import from_row, to_row
from mlinfra_lab.storage.unit import Unit
from mlinfra_lab.storage.watch import Watcher

__all__ = ["Storage", "Unit", "Watcher", "from_row", "to_row"]
