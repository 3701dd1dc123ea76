"""A learning-rate finder: some tens of steps with a rate that rises exponentially, and what their losses suggest.

As in arXiv 1506.01186: too low a rate changes nothing, a good one lowers the loss, too high a one raises it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragft.config import FinetuneSection
from ragft.finetune.methods import METHODS
from ragft.finetune.training import train

if TYPE_CHECKING:
    from ragft.messages import Rendered

STEPS = 60
LOWEST, HIGHEST = 1e-3, 1e2
"""Where the rate begins and ends, as factors of the method's default: five powers of ten in all."""
_SMOOTHING = 0.8
"""Weight of the losses before in the smoothed loss. Steps of other rows differ by more than a step teaches."""
_RISEN = 0.25
"""The sweep ends once the smoothed loss has risen by this share above its lowest value."""
_FALLEN = 0.02
"""Share of the first loss by which it must fall: less is the difference between rows."""
_BELOW_LOWEST = 3.0
"""The rate is taken so many times below that of the lowest loss, which is the edge of what is stable."""
_ROWS, _BAR = 16, 40


@dataclass(frozen=True)
class Curve:
    """Losses by learning rate.

    Attributes:
        rates: of each step, rising.
        losses: of the same steps, in nats per trained token.
        smoothed: the same, each averaged with those before it.
        diverged: whether the loss rose again, or was no longer finite, before the highest rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, None where the curve tells none; and why."""

    rate: float | None
    reason: str


class _Seen(Exception):
    """Ends the sweep."""


def sweep(
    model_folder: Path,
    rows: Sequence[Rendered],
    settings: FinetuneSection,
    *,
    seed: int,
    folder: Path,
    steps: int = STEPS,
    say: Callable[[str], None] = lambda sentence: None,
    advance: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Curve:
    """Trains for some steps from the adapter that a training would begin with; what is trained is thrown away.

    Args:
        folder: for what a training writes; the caller deletes it.
        advance: told of each step.

    Raises:
        RagftError: these rows cannot be trained on.
    """
    from ragft.finetune.fast.faults import Diverged

    usual = METHODS[settings.method].learning_rate
    low, high = usual * LOWEST, usual * HIGHEST
    usable = sum(len(row.ids) <= settings.max_seq_length for row in rows)
    epochs = steps / max(1, math.ceil(usable / settings.batch_size))
    trained = settings.model_copy(update={"epochs": epochs, "eval_count": 1, "select": "loss"})
    rates, losses, smoothed = list[float](), list[float](), list[float]()
    diverged = False

    def schedule(step: int, of: int) -> float:
        return float(low * (high / low) ** (step / max(1, of - 1)))

    def progress(state: Any) -> None:
        nonlocal diverged
        # The loss of a step is that of the weights before it, which the rate of the step before has changed.
        rates.append(state.learning_rate)
        losses.append(state.train_loss)
        smoothed[:] = _smoothed(losses)
        advance(state.step, state.steps, f"loss {state.train_loss:.3f}")
        diverged = not math.isfinite(smoothed[-1]) or smoothed[-1] > (1 + _RISEN) * min(smoothed)
        if diverged or state.step == state.steps:
            raise _Seen

    try:
        train(model_folder, rows, [], trained, seed=seed, folder=folder, progress=progress, schedule=schedule, say=say)
    except _Seen:
        pass
    except Diverged:
        if not rates:
            raise
        diverged = True
    return Curve(tuple(rates), tuple(losses), tuple(smoothed), diverged)


def suggestion(curve: Curve) -> Suggestion:
    """The rate that a curve suggests: where the loss falls most steeply, and well below where it is lowest."""
    smoothed = curve.smoothed
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    if smoothed[lowest] > (1 - _FALLEN) * smoothed[0]:
        return Suggestion(
            None,
            f"the loss never fell by {_FALLEN:.0%} of its first value, {smoothed[0]:.3f}: more rows per step "
            "(finetune.batch_size) or other data would tell more",
        )
    falls = [smoothed[at] - smoothed[at + 1] for at in range(lowest)]
    steepest = max(range(len(falls)), key=falls.__getitem__) + 1
    limit = curve.rates[lowest] / _BELOW_LOWEST
    found = min(curve.rates[steepest], limit)
    why = (
        f"the smoothed loss falls most steeply at {curve.rates[steepest]:.1e} and is lowest at "
        f"{curve.rates[lowest]:.1e} ({smoothed[lowest]:.3f}, at first {smoothed[0]:.3f})"
    )
    why += ", behind which it rises" if curve.diverged else ", and it does not rise again up to the highest rate"
    if found == limit:
        why += f"; a rate {_BELOW_LOWEST:g} times below the lowest point is taken, which is the edge of what is stable"
    return Suggestion(float(f"{found:.2g}"), why)


def drawn(curve: Curve) -> str:
    """The smoothed loss as lines of text, one for each few rates, from the lowest rate to the highest."""
    size = math.ceil(len(curve.rates) / _ROWS)
    ends = [min(start + size, len(curve.rates)) - 1 for start in range(0, len(curve.rates), size)]
    finite = [curve.smoothed[end] for end in ends if math.isfinite(curve.smoothed[end])]
    high = max(finite, default=1.0) or 1.0
    lines = ["learning rate   loss"]
    for end in ends:
        loss = curve.smoothed[end]
        bar = "#" * round(_BAR * loss / high) if math.isfinite(loss) else "not finite"
        lines.append(f"{curve.rates[end]:13.1e} {loss:6.3f} {bar}")
    return "\n".join(lines)


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential means of the losses up to each, without the pull of a first value."""
    mean, weight, found = 0.0, 0.0, []
    for loss in losses:
        mean, weight = _SMOOTHING * mean + (1 - _SMOOTHING) * loss, _SMOOTHING * weight + (1 - _SMOOTHING)
        found.append(mean / weight)
    return found
