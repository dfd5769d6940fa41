"""What is answered under ``/mlinfra/``."""
