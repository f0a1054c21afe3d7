"""How a model is asked: so many instances in a body, over so many connections."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.prediction import load, servers

__all__ = ["CELLS", "Cell", "questions"]


class Cell(NamedTuple):
    """Instances in a body, and connections."""

    instances: int
    connections: int

    @classmethod
    def parse(cls, text: str) -> Cell:
        instances, _, connections = text.partition("x")
        return cls(int(instances), int(connections))

    def __str__(self) -> str:
        return f"{self.instances}x{self.connections}"


CELLS = (Cell(1, 1), Cell(1, 8), Cell(1, 64), Cell(32, 8))


def questions(server: servers.Server, rows: dict[str, Any], cell: Cell) -> list[load.Question]:
    """Return what to ask a server, with the answers that are right."""
    instances, predictions = rows["instances"], rows["predictions"]
    looks = server.name != servers.EMPTY
    while len(instances) < cell.instances:
        instances, predictions = instances * 2, predictions * 2
    return [
        load.Question(server.request(instances[at : at + cell.instances]),
                      predictions[at : at + cell.instances] if looks else [0])
        for at in range(0, len(instances) - cell.instances + 1, cell.instances)
    ]  # fmt: skip
