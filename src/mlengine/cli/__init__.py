"""The command line: parse, call the engine, print. Nothing is decided here."""
