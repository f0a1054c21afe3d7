"""One module a group of commands; `cli.tree` imports each only when it is run."""
