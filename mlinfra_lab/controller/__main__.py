"""``python -m mlinfra_lab.controller --project DIR``."""

from mlinfra_lab.controller.main import main

main()
