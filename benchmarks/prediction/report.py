"""Prints what was measured, and says which targets are met."""

from __future__ import annotations

from typing import Any

from benchmarks.prediction.servers import EMPTY

__all__ = ["FLOOR", "print_report"]

FLOOR = "bare call"

_OURS = "mlengine"
_ONNX = "fastapi-onnx"
_IDLE_TARGET_BYTES = 150 * 1024 * 1024
# By cell: times the best peer without a hand-converted model, and times FastAPI with one.
_TARGETS = {"1x1": (4.0, None), "1x8": (10.0, 8.0), "1x64": (10.0, 15.0), "32x8": (6.0, None)}
_CNN_TARGET = 1.2
_CPU_CELL, _CPU_TARGET = "1x64", 10.0


def print_report(report: dict[str, Any]) -> int:
    """Print the tables; return 1 when an answer was wrong or a target missed."""
    results = report["results"]
    print(
        f"{report['cpus']} cores, {report['rounds']} rounds of {report['seconds']:g} s, medians\n"
    )
    print("| model | cell | server | req/s | p50 ms | p99 ms | CPU us | first answer s | bad |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in results:
        print(f"| {one['model']} | {one['cell']} | {one['server']} | "
              f"{one['requests_per_s']:,.0f} | {one['p50_ms']:.2f} | {one['p99_ms']:.2f} | "
              f"{one['cpu_us']:,.0f} | {one['start_s']:.1f} | {one['bad']} |")  # fmt: skip
    missed = [one for one in results if one["server"] == _OURS and one["bad"]]
    print("\n| model | cell | what | mlengine | best peer | ratio | target | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for ours in (one for one in results if one["server"] == _OURS):
        for what, mine, best, ratio, target in _verdicts(ours, results):
            met = ratio >= target
            missed += [] if met else [ours]
            print(f"| {ours['model']} | {ours['cell']} | {what} | {mine} | {best} | {ratio:.1f} | "
                  f"{target:g} | {'met' if met else 'missed'} |")  # fmt: skip
    idle = report["idle_bytes"]
    print(f"\nIdle engine and gateway: {idle / 2**20:.0f} MiB (target 150).")
    for one in results:
        if one["bad"]:
            print(f"{one['server']}, {one['model']} {one['cell']}: {one['first_problem']}")
    return 1 if missed or idle > _IDLE_TARGET_BYTES else 0


def _verdicts(
    ours: dict[str, Any], results: list[dict[str, Any]]
) -> list[tuple[str, str, str, float, float]]:
    here = [
        one
        for one in results
        if (one["model"], one["cell"]) == (ours["model"], ours["cell"]) and not one["bad"]
    ]
    rivals = [one for one in here if one["server"] not in (_OURS, FLOOR, EMPTY)]
    plain = [one for one in rivals if one["server"] != _ONNX]
    by_hand = [one for one in rivals if one["server"] == _ONNX]
    unconverted = plain  # whatever the model: who converts by hand starts without its library
    best_target, onnx_target = _TARGETS.get(ours["cell"], (None, None))
    found = []
    if ours["model"] == "cnn":
        plain, by_hand, best_target = rivals, [], _CNN_TARGET
    if plain and best_target:
        found.append(_speed("req/s", ours, plain, best_target))
    if by_hand and onnx_target:
        found.append(_speed("req/s, ONNX by hand", ours, by_hand, onnx_target))
    if plain and ours["cell"] == _CPU_CELL and ours["model"] != "cnn":
        best = min(plain, key=lambda one: one["cpu_us"])
        ratio = best["cpu_us"] / ours["cpu_us"]
        found.append(("CPU us", f"{ours['cpu_us']:.0f}", f"{best['cpu_us']:.0f} ({best['server']})",
                      ratio, _CPU_TARGET))  # fmt: skip
    if unconverted and ours["cell"] == "1x1":
        quickest = min(unconverted, key=lambda one: one["start_s"])
        found.append(("first answer s", f"{ours['start_s']:.1f}",
                      f"{quickest['start_s']:.1f} ({quickest['server']})",
                      quickest["start_s"] / ours["start_s"], 2.0))  # fmt: skip
    return found


def _speed(
    what: str, ours: dict[str, Any], rivals: list[dict[str, Any]], target: float
) -> tuple[str, str, str, float, float]:
    best = max(rivals, key=lambda one: one["requests_per_s"])
    return (what, f"{ours['requests_per_s']:,.0f}",
            f"{best['requests_per_s']:,.0f} ({best['server']})",
            ours["requests_per_s"] / best["requests_per_s"], target)  # fmt: skip
