"""The servers that mlengine is measured against; each runs in an environment of its own."""
