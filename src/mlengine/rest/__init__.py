"""The HTTP face: ``ml.googleapis.com/v1`` and the engine's own routes, over any `Engine`.

It decides nothing. `app.build_app` puts a guard (Host, Origin, token, body size) before a router
that knows only what stands in two tables: `ml_v1.METHODS` and `own.ROUTES`.
"""
