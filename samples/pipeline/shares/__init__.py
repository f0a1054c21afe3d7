"""Code that a pickled pipeline refers to: whoever loads it needs this package."""
