"""SQLite and PostgreSQL: how they are opened, whether they answer, locks in them."""
