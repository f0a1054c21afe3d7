"""Names, states, errors, resource types, time: pure, no I/O."""
