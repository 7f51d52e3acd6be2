"""Figures as the report's tables have them."""


def number(value: float | None) -> str:
    """To as many decimals as its size calls for; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{value:.{decimals(value)}f}"


def decimals(value: float) -> int:
    """As many as a figure's size calls for."""
    return 4 if abs(value) < 0.1 else 3 if abs(value) < 10 else 1
