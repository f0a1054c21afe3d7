"""The tables in Markdown, and a picture of them where matplotlib is installed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.tuning.objectives import FAMILIES, Objective
from benchmarks.tuning.scores import Frame, Row, Score, rows

__all__ = ["markdown", "picture"]


def markdown(
    frames: Sequence[Frame], objectives: Sequence[Objective], absent: Mapping[str, str]
) -> str:
    """Return all tables."""
    parts = [_table(frame, absent) for frame in frames if frame.losses]
    parts += [_families(frame, objectives) for frame in frames if frame.losses]
    parts += [found for frame in frames if (found := _mix(frame, objectives))]
    parts += [_objectives(frame, objectives) for frame in frames if frame.losses]
    return "\n\n".join(parts) + "\n"


def _title(frame: Frame) -> str:
    how = "one at a time" if frame.batch == 1 else f"in batches of {frame.batch}"
    return f"{frame.budget} trials, {how}"


def _table(frame: Frame, absent: Mapping[str, str]) -> str:
    columns = (
        "searcher", "objectives", "seeds", "mean score (90 %)", "against mlengine (90 %)",
        "beyond random", "mean rank", "CPU s a suggestion", "failed runs",
    )  # fmt: skip
    lines = [f"### {_title(frame)}", "", f"| {' | '.join(columns)} |", "| --- " * 9 + "|"]
    lines += [_line(row) for row in rows(frame)]
    lines += [f"| {peer} | {why} | | | | | | | |" for peer, why in absent.items()]
    return "\n".join(lines)


def _line(row: Row) -> str:
    low, high = row.seeds
    return (
        f"| {row.peer} | {row.objectives} | {low if low == high else f'{low}-{high}'} "
        f"| {_figure(row.score)} | {_figure(row.against_ours, '+')} "
        f"| {'' if row.beyond_random is None else f'{row.beyond_random:.1f}'} "
        f"| {'' if row.rank is None else f'{row.rank:.2f}'} | {row.cpu_s:.3g} | {row.failed} |"
    )


def _figure(score: Score | None, sign: str = "") -> str:
    if score is None:
        return ""
    return f"{score.value:{sign}.1f} ({score.low:{sign}.1f} to {score.high:{sign}.1f})"


def _families(frame: Frame, objectives: Sequence[Objective]) -> str:
    """A column a family: the mean score over those of its objectives that the peer has."""
    peers = [row.peer for row in rows(frame)]
    lines = [f"### {_title(frame)}, by family", "", "| searcher | " + " | ".join(FAMILIES) + " |"]
    lines.append("| --- " * (len(FAMILIES) + 1) + "|")
    for peer in peers:
        cells = []
        for family in FAMILIES:
            names = {one.name for one in objectives if one.family == family}
            found = [
                100 * (1 - statistics.fmean(losses))
                for name, losses in frame.losses[peer].items()
                if name in names
            ]
            short = "" if len(found) == len(names) else f" ({len(found)} of {len(names)})"
            cells.append(f"{statistics.fmean(found):.1f}{short}" if found else "")
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mix(frame: Frame, objectives: Sequence[Objective]) -> str:
    """Closed forms beside real trainings, and the two weighed as a benchmark of 9 and 7 has them.

    Of those who have runs of all; empty if nobody has.
    """
    real = {one.name for one in objectives if one.family == "models"}
    closed = {one.name for one in objectives} - real
    found = {
        row.peer: (_mean(losses, closed), _mean(losses, real))
        for row in rows(frame)
        if real and closed and set(losses := frame.losses[row.peer]) == real | closed
    }
    if not found:
        return ""
    columns = ("searcher", f"{len(closed)} closed forms", f"{len(real)} real trainings",
               "as 9 to 7", "beyond random")  # fmt: skip
    lines = [f"### {_title(frame)}, weighed", "", f"| {' | '.join(columns)} |", "| --- " * 5 + "|"]
    mixed = {peer: (9 * one + 7 * two) / 16 for peer, (one, two) in found.items()}
    for peer, score in mixed.items():
        chance = 100 - mixed["random"] if "random" in mixed else 0.0
        beyond = f"{100 * (1 - (100 - score) / chance):.1f}" if chance else ""
        one, two = found[peer]
        lines.append(f"| {peer} | {one:.1f} | {two:.1f} | {score:.1f} | {beyond} |")
    return "\n".join(lines)


def _mean(losses: Mapping[str, Sequence[float]], names: Iterable[str]) -> float:
    return 100 * (1 - statistics.fmean(statistics.fmean(losses[name]) for name in names))


def _objectives(frame: Frame, objectives: Sequence[Objective]) -> str:
    """A line an objective: everybody's mean score."""
    peers = [row.peer for row in rows(frame)]
    lines = [
        f"### {_title(frame)}, by objective", "", "| objective | " + " | ".join(peers) + " |",
        "| --- " * (len(peers) + 1) + "|",
    ]  # fmt: skip
    for objective in objectives:
        cells = [
            f"{100 * (1 - statistics.fmean(found)):.1f}"
            if (found := frame.losses[peer].get(objective.name))
            else ""
            for peer in peers
        ]
        lines.append(f"| {objective.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(frames: Sequence[Frame], file: Path) -> str:
    """Draw mean scores with their intervals; return a remark on what came of it."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return "no picture: matplotlib is not installed"
    matplotlib.use("agg")
    from matplotlib import pyplot

    if not (shown := [frame for frame in frames if frame.losses]):
        return "no picture: nothing has been run"
    figure, places = pyplot.subplots(
        1, len(shown), figsize=(4.5 * len(shown), 4), squeeze=False, layout="constrained"
    )
    for frame, place in zip(shown, places[0], strict=True):
        found = rows(frame)[::-1]
        values = [row.score.value for row in found]
        spread = [
            [row.score.value - row.score.low for row in found],
            [row.score.high - row.score.value for row in found],
        ]
        place.barh(
            [row.peer for row in found], values, xerr=spread,
            color=["C1" if row.peer == "mlengine" else "C0" for row in found],
        )  # fmt: skip
        place.set_xlim(left=max(0.0, min(row.score.low for row in found) - 3))
        place.set_title(_title(frame))
        place.set_xlabel("mean score (100: the optimum)")
    figure.savefig(file, dpi=110)
    return f"picture: {file}"
