"""Axes of hand-written figures: from values to shares of an axis, with ticks at round numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One axis: which values it shows, where its ticks are, and what it is of.

    Attributes:
        low: value at the left or lower end.
        high: value at the right or upper end; below `low` for rows that are read downwards.
        label: what the axis shows, with its unit.
        ticks: values that get a tick, in any order.
        names: texts of the ticks; empty: the numbers.
        is_log: whether equal factors are equally far apart.
    """

    low: float
    high: float
    label: str = ""
    ticks: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    is_log: bool = False

    @classmethod
    def linear(
        cls,
        values: Iterable[float],
        *,
        label: str = "",
        num_ticks: int = 5,
        padding: float = 0.04,
    ) -> Self:
        """Scale over all finite values, a little wider, with about `num_ticks` round ticks.

        Args:
            values: what has to fit; add 0 to have zero on the axis.
            label: what the axis shows, with its unit.
            num_ticks: about how many ticks.
            padding: room at each end, as a share of the range.
        """
        low, high = _range(values)
        room = padding * (high - low)
        low, high = low - room, high + room
        return cls(low=low, high=high, label=label, ticks=nice_ticks(low, high, num_ticks))

    @classmethod
    def logarithmic(cls, values: Iterable[float], *, label: str = "") -> Self:
        """Scale over all positive finite values, on which equal factors are equally far apart."""
        low, high = _range(value for value in values if value > 0)
        low = max(low, 1e-300)
        if high <= low:
            low, high = low / 2, low * 2
        factor = (high / low) ** 0.04
        low, high = low / factor, high * factor
        return cls(low=low, high=high, label=label, ticks=_log_ticks(low, high), is_log=True)

    @classmethod
    def rows(cls, names: Sequence[str]) -> Self:
        """Scale of named rows, read downwards: row i is centred on the value i."""
        count = max(1, len(names))
        return cls(
            low=count - 0.5,
            high=-0.5,
            ticks=tuple(float(number) for number in range(len(names))),
            names=tuple(names),
        )

    def share(self, value: float) -> float:
        """Place of a value on the axis: 0 at the low end, 1 at the high one."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-300))
        return (value - low) / (high - low) if high != low else 0.5

    def holds(self, value: float) -> bool:
        """Whether a value is finite and within the axis."""
        return math.isfinite(value) and -1e-9 <= self.share(value) <= 1 + 1e-9

    def tick_names(self) -> tuple[str, ...]:
        """Texts of the ticks."""
        if self.names:
            return self.names
        if self.is_log:
            return tuple(short_number(tick, math.nan) for tick in self.ticks)
        step = min(
            (abs(b - a) for a, b in zip(self.ticks, self.ticks[1:], strict=False)),
            default=abs(self.high - self.low) / 5,
        )
        largest = max(map(abs, self.ticks), default=0.0)
        return tuple(short_number(tick, step, largest=largest) for tick in self.ticks)

    def names_apart(self, num_letters: float) -> tuple[str, ...]:
        """Texts of the ticks on an axis along which `num_letters` letters fit: of numbers that
        would touch, every second or third, zero among them, and "" for the others."""
        names = self.tick_names()
        if self.names or self.is_log or len(names) < 2:
            return names
        room = num_letters * abs(self.share(self.ticks[1]) - self.share(self.ticks[0]))
        every = max(1, math.ceil((max(map(len, names)) + 1) / room))
        start = self.ticks.index(0.0) if 0.0 in self.ticks else 0
        return tuple(name if (n - start) % every == 0 else "" for n, name in enumerate(names))


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Multiples of a round step within a range, about `count` of them.

    Example:
        >>> nice_ticks(-0.3, 1.1)
        (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
    """
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return (low,) if math.isfinite(low) else ()
    power = 10 ** math.floor(math.log10(span / count))
    step = min(
        (factor * power for factor in _STEPS),
        key=lambda one: abs(math.log(span / one / count)),
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(number * step, 12) + 0.0 for number in range(first, last + 1))


def short_number(value: float, step: float, *, largest: float | None = None) -> str:
    """A tick's text: as many decimals as its step needs, thousands as `k`, millions as `M`.

    Args:
        value: of the tick.
        step: distance of neighbouring ticks; not a number: as many digits as the value needs.
        largest: size of the largest number of the axis, which decides the unit of all of them;
            None: this one's.

    Example:
        >>> short_number(0.5, 0.25), short_number(20000, 5000), short_number(0, 5000, largest=2e4)
        ('0.50', '20k', '0')
    """
    if math.isnan(step):
        step = abs(value) or 1.0
    size = abs(value) if largest is None else largest
    if value == 0 and size >= 1e4:
        return "0"
    for divisor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * divisor:
            return f"{value / divisor:,.{_decimals(step / divisor)}f}{unit}"
    return f"{value:,.{_decimals(step)}f}"


def _decimals(step: float) -> int:
    """Decimals that tell multiples of a step apart."""
    return next((n for n in range(7) if abs(round(step, n) - step) < 1e-6 * step), 7)


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Least and greatest finite value, which differ."""
    finite = [float(value) for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if high - low <= 1e-9 * max(1.0, abs(low)):
        room = max(0.5, 0.05 * abs(low))
        return low - room, high + room
    return low, high


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round values on a logarithmic axis: powers of ten, with 2 and 5 between if they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if math.log10(high / low) < 3 else (1.0,)
    found = [factor * 10.0**power for power in powers for factor in factors]
    return tuple(value for value in found if low <= value <= high)
