"""Who is compared, each in an environment of its own, and how one talks to it.

`line` runs in a peer's own process and environment, as the `run_*` scripts beside it do: those
import neither mlengine nor each other. `child` is the benchmark's end of the line.
"""

from __future__ import annotations

import dataclasses

__all__ = ["PEERS", "Peer"]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A searcher by the name that it has in the tables.

    Attributes:
        script: `peers/run_SCRIPT.py`.
        option: What the script is told, such as which of a library's samplers to use.
        environment: Its requirements are in `requirements/ENVIRONMENT.txt`; empty: mlengine's own.
        told: It plans by the number of trials, so each budget is a run of its own; of all others
            the first 30 trials are the same whether 30 or 100 were asked for.
    """

    name: str
    script: str
    option: str
    environment: str = ""
    told: bool = False


PEERS = {
    peer.name: peer
    for peer in (
        Peer("mlengine", "mlengine", "bayesian"),
        Peer("random", "mlengine", "random"),
        Peer("Sobol", "mlengine", "quasi-random"),
        Peer("Optuna TPE", "optuna", "tpe", "optuna"),
        Peer("Optuna GP", "optuna", "gp", "optuna"),
        Peer("Optuna CMA-ES", "optuna", "cmaes", "optuna"),
        Peer("Ax", "ax", "fast", "ax"),
        Peer("HEBO", "hebo", "gp", "hebo"),
        Peer("SMAC3", "smac", "hpo", "smac", told=True),
        Peer("SMAC3 GP", "smac", "blackbox", "smac", told=True),
        Peer("Vizier", "vizier", "gp_ucb_pe", "vizier"),
    )
}
"""The peers by name, ours first. "Optuna TPE" is multivariate and grouped, its best form."""
