"""What a gateway and its engine find in the run folder: names of files, and what a gateway says."""

from __future__ import annotations

import msgspec

from mlengine.prediction.gateway.doors import Doors

__all__ = [
    "CONTROL_SOCKET", "GATEWAY_FILE", "LOG_NAME", "QUOTA_FILE", "ROUTING_FILE", "GatewayInfo",
]  # fmt: skip

CONTROL_SOCKET = "gateway.sock"
GATEWAY_FILE = "gateway.json"
LOG_NAME = "gateway.log"  # in the home's folder of logs
QUOTA_FILE = "quota.json"
ROUTING_FILE = "routing.json"


class GatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a listening gateway says of itself, with a `runtime.processes.note` of the run folder.

    `doors` and `run_dir` are what it was told, `grpc_port` what it took: 0 is none. What has a
    default was not said by gateways of before, which an engine that was upgraded meets.
    """

    pid: int
    started: int
    boot_id: str = ""
    device: int = 0
    inode: int = 0
    place: str = ""
    run_dir: str = ""
    host: str
    port: int
    url: str
    doors: Doors = Doors()
    grpc_port: int = 0
