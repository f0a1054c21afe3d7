"""The front door of predictions, and the workers behind it.

    caller ──TCP──▶ gateway ──Unix socket──▶ worker (one loaded version)
                      └──────Unix socket──▶ engine (everything that is not a prediction)

The gateway has no store: the engine pushes it a routing snapshot. It never loads a model. Gateway
and workers outlive the engine, so predictions go on while it is away.

    gateway/   the gateway's own process      workers/  start, watch, adopt, stop
    traffic/   which version, and how it did  scaling/  how many workers, sleep and waking
    requestlog/  what was asked and answered, kept as rows of tables
    serving    what the records say should answer, made true
    batch      jobs that predict whole files
"""
