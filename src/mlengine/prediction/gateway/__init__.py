"""The gateway's process, station by station: ``python -m mlengine.prediction.gateway.process``.

    http1 ─▶ heads | guard ─▶ exchange ─▶ switchboard ─▶ split ─▶ group ─▶ workers
    (read)   (may it?)        (what?)     (whose?)       (which?)          (the hop, and back)

No store, no model, no log line a request: all it knows is `routing.Snapshot`, which the engine
pushes.
"""
