"""What a person would want to be told of a running training, in words. Who adds an alarm adds a function to `ALARMS`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from thetascope.live.measuring import Measured
from thetascope.recording.log import Record

STILL = 5
"""A layer that did not move over so many measured steps is told."""

JUMP, BEFORE = 10.0, 5
"""A move so many times as far, per optimizer step, as the median of those before is told, once there are so many."""

PATIENCE = 4.0
"""So many epochs a validation may go without a new best, or records where epochs are not known."""

BACK, TURNS = -0.5, 5
"""Steps that turn back on each other: their mean cosine over so many turns."""


@dataclass(frozen=True)
class Seen:
    """What is known of a training so far: its records, its measured states, in order."""

    records: Sequence[Record]
    measured: Sequence[Measured]


def at_step(record: Record) -> str:
    """When it was, in words."""
    return f"step {record.step:,}" if record.epoch is None else f"step {record.step:,} (epoch {record.epoch:.4g})"


def broken_tensors(seen: Seen) -> Iterator[str]:
    """NaN or infinity in the newest state, and since when."""
    if not seen.measured or not seen.measured[-1].broken:
        return
    broken = seen.measured[-1].broken
    since = next(one for one in seen.measured if broken[0] in one.broken)
    more = f" and {len(broken) - 3} more tensors" if len(broken) > 3 else ""
    yield f"NaN or infinity in {', '.join(broken[:3])}{more} since {at_step(since.record)}."


def broken_metrics(seen: Seen) -> Iterator[str]:
    """A recorded metric that is not finite, and since when."""
    for name in seen.records[-1].metrics if seen.records else ():
        values = [(record, record.metrics[name]) for record in seen.records if name in record.metrics]
        if not math.isfinite(values[-1][1]):
            since = values[-1][0]
            for record, value in reversed(values):
                if math.isfinite(value):
                    break
                since = record
            yield f"{_plain(name)} is not finite since {at_step(since)}."


def still_layers(seen: Seen) -> Iterator[str]:
    """Layers that do not move while others do."""
    recent = [one for one in seen.measured if one.moved][-STILL:]
    if len(recent) < STILL:
        return
    still = [layer for layer in recent[-1].moved if all(one.moved[layer] == 0 for one in recent)]
    if len(still) == len(recent[-1].moved):
        yield f"No layer has moved for {STILL} records."
        return
    for layer in still:
        never = all(one.distance[layer] == 0 for one in seen.measured)
        yield (
            f"{layer} has not moved at all: it is frozen, or gets no gradient." if never else f"{layer} has not moved for {STILL} records."
        )


def long_move(seen: Seen) -> Iterator[str]:
    """A newest move that is much longer than usual."""
    steps = [one.step for one in seen.measured if math.isfinite(one.step)]
    if len(steps) <= BEFORE or not math.isfinite(seen.measured[-1].step):
        return
    usual = statistics.median(steps[:-1])
    if usual > 0 and steps[-1] > JUMP * usual:
        times = f"{steps[-1] / usual:.0f} times"
        yield f"Up to {at_step(seen.measured[-1].record)} the weights moved {times} as far per step as usual (the median)."


def past_best(seen: Seen) -> Iterator[str]:
    """A validation that was better some epochs ago."""
    for name in dict.fromkeys(name for record in seen.records for name in record.metrics):
        if not any(part in name.lower() for part in ("val", "test", "eval")):
            continue
        values = [(record, record.metrics[name]) for record in seen.records if math.isfinite(record.metrics.get(name, math.nan))]
        if len(values) < 2:
            continue
        lower = name.lower().endswith(("loss", "error", "perplexity"))
        best = (min if lower else max)(values, key=lambda pair: pair[1])
        newest = values[-1]
        if best[0].epoch is not None and newest[0].epoch is not None:
            gone, unit = newest[0].epoch - best[0].epoch, "epochs"
        else:
            gone, unit = float(len(values) - 1 - [record for record, _ in values].index(best[0])), "records"
        if gone >= PATIENCE:
            yield (f"{_plain(name)} is past its best for {gone:g} {unit}: {best[1]:.3g} at {at_step(best[0])}, now {newest[1]:.3g}.")


def turning_back(seen: Seen) -> Iterator[str]:
    """Steps that undo one another."""
    turns = [one.turn for one in seen.measured if math.isfinite(one.turn)][-TURNS:]
    if len(turns) == TURNS and statistics.fmean(turns) < BACK:
        yield (
            f"The last steps turn back on each other (mean cosine {_signed(statistics.fmean(turns))} over {TURNS}): "
            "the learning rate may be too high."
        )


ALARMS: tuple[Callable[[Seen], Iterator[str]], ...] = (
    broken_tensors,
    broken_metrics,
    long_move,
    still_layers,
    past_best,
    turning_back,
)


def alarms(seen: Seen) -> list[str]:
    """All that is to be told, the gravest first."""
    return [told for alarm in ALARMS for told in alarm(seen)]


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
