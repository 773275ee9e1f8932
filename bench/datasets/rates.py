"""Frames per second, from what files state.

A number in a file was rounded to its last digit, so a time between frames stands for an interval of
rates. If exactly one rate in common use lies in it, that rate is meant.
"""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from bench.core.errors import InputError
from bench.core.notices import note

RATES = (1.0, 2000.0)
"""Least and greatest plausible frames per second of a recording."""
USUAL: tuple[float, ...] = (
    *(10, 12, 15, 20, 23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 72, 90, 100, 119.88, 120),
    *(150, 180, 200, 240, 250, 300, 360, 400, 480, 500, 600, 1000),
)
"""Rates in common use. Television's are one in a thousand below a whole number."""
TELEVISION = {23.976: 24.0, 29.97: 30.0, 59.94: 60.0, 119.88: 120.0}
"""The whole rate beside each rate of television; an interval that has both means the former."""
NOTEWORTHY = 2.5e-3
"""Share by which a rate differs from the inverse of the stated time, above which it is noticed."""
SAME = 2e-3
"""Share by which two statements of one rate may differ: television's and the whole one may."""


def rate_of(text: str, where: str, setting: str = "dataset.rate") -> float:
    """Return the frames per second that the text of a time between frames, in seconds, means.

    Args:
        text: such as ``0.0333333``.
        where: the file and what the text is in it, for messages.
        setting: the setting that states the rate, for messages.

    Raises:
        InputError: it is no time between two frames, or means several rates.
    """
    mend = f"state the frames per second by {setting}"
    try:
        stated = Decimal(text.replace("_", "?"))
    except InvalidOperation:
        stated = Decimal("nan")
    seconds = float(stated) if stated.is_finite() else math.nan
    if not 1 / RATES[1] <= seconds <= 1 / RATES[0]:
        likely = ", though a rate in frames per second" if _is_rate(seconds) else ""
        if not likely and _is_rate(1000 / seconds if seconds > 0 else 0):
            likely = ", though one in milliseconds"
        raise InputError(f"{where} {text} is no time between two frames in seconds{likely}; {mend}")
    exact = next((rate for rate in USUAL if abs(seconds * rate - 1) < 1e-9), None)
    if exact is not None:
        return float(exact)
    last = int(stated.as_tuple().exponent)
    half = 0.5 * 10.0**last
    inside = [rate for rate in USUAL if abs(1 / rate - seconds) <= half]
    meant = [rate for rate in inside if TELEVISION.get(rate) not in inside]
    if len(meant) > 1:
        raise InputError(
            f"{where} {text} is rounded so far that it means {' or '.join(f'{r:g}' for r in meant)}"
            f" frames per second; {mend}"
        )
    # Without a usual rate, a whole one that prints as the same digits is meant.
    whole = round(1 / seconds)
    if not meant and abs(1 / whole - seconds) <= half:
        meant = [float(whole)]
    found = float(meant[0]) if meant else 1 / seconds
    if len(inside) > 1 or abs(found * seconds - 1) > NOTEWORTHY:
        least, most = 1 / (seconds + half), 1 / max(seconds - half, 1 / RATES[1])
        note(
            "rounded frame time",
            f"a time of {text} s is of {least:.4g} to {most:.4g} frames per second; taken for "
            f"{found:g} ({setting} states another)",
        )
    return found


def _is_rate(number: float) -> bool:
    return any(abs(number / rate - 1) < SAME for rate in USUAL)


def agreed(rates: Mapping[str, float], where: str) -> float:
    """Return the rate that all statements of a file agree on, the first one's.

    Args:
        rates: frames per second, by what states them.
        where: the file, for messages.

    Raises:
        InputError: two contradict each other.
    """
    (first, rate), *others = rates.items()
    for name, other in others:
        if abs(other / rate - 1) > SAME:
            raise InputError(
                f"{where}: {first} says {rate:g} frames per second, {name} says {other:g}; "
                "correct the wrong one"
            )
    return rate
