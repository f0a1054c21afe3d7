"""The gateway's process, station by station: ``python -m mlengine.prediction.gateway.process``.

    http1 ─▶ heads | guard ─▶ exchange ─▶ switchboard ─▶ split ─▶ group ─▶ workers
    (read)   (may it?)        (what?)     (whose?)       (which?)          (the hop, and back)

No store, no model: all it knows is `routing.Snapshot`, which the engine pushes. What a key may
ask and take is decided at `guard` and `quota`; what a version's log keeps is taken behind the
answer, at `requestlog`.
"""
