"""What callers asked and were answered, kept as rows of tables: written, read, labelled."""
