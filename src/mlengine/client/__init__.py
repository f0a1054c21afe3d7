"""The `Engine` interface over HTTP: `http.HttpEngine`, by the standard library's client."""
