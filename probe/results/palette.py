"""Colours that stay apart for readers with a colour-vision deficiency (Okabe and Ito 2008), and in grey."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open", "x")
MARKERS = ("o", "D", "s", "^", "x")
SEQUENTIAL = "viridis"
DIVERGING = "RdBu"
REFERENCE = "#666666"


def color(index: int) -> str:
    return SERIES[index % len(SERIES)]
