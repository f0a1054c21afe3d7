"""The `Engine` interface over HTTP: `http.HttpEngine`, with the standard library only."""
