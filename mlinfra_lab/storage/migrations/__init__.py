"""alembic's migrations of the project's database."""
