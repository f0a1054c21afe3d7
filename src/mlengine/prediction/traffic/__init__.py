"""Which version a prediction goes to, what came of it, and which version did better."""
