"""What the store does per second, on SQLite and on PostgreSQL."""
