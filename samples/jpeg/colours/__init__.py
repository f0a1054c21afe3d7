"""The code of a version: it takes photographs as they come from a camera."""
