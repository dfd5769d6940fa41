"""``python -m mlinfra_lab`` is ``mlinfra``."""

from mlinfra_lab.cli import main

if __name__ == "__main__":
    main()
