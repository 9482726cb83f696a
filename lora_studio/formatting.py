"""Numbers and times as people read them."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s`, `1 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60:02d} min"


def about(seconds: float) -> str:
    """An expected duration in about two digits: `about 45 s`, `about 4 min`."""
    return f"about {duration(max(1.0, seconds) if seconds < 55 else 60 * round(seconds / 60))}"


def size(count: int) -> str:
    """Bytes as `474 kB`, `36.1 MB`, `250 MB` or `1.5 GB`."""
    if count < 1_000_000:
        return f"{max(1, round(count / 1000))} kB" if count else "0 kB"
    number, unit = (count / 1e6, "MB") if count < 999_950_000 else (count / 1e9, "GB")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def moment(at: float) -> str:
    """A unix time as local date and time; empty for 0."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 picture`, `3 pictures`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def short(number: float) -> str:
    """A loss or rate in a few digits: `0.0123`, `1e-05`."""
    return f"{number:.4f}" if abs(number) >= 0.001 else f"{number:.1e}"
