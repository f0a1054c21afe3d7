"""Second implementations that are simple enough to be right."""
