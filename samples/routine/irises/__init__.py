"""The code of a version: a preprocessor, and the routine that uses it."""
