"""What linear probes read, and how it survives."""

from __future__ import annotations

from .page import Page


class Probes(Page, kind="probes"):
    """The page shows probes beside their controls."""

    title = "Probes"
    icon = ":material/ssid_chart:"
    order = 30
    shows = ("probe_scores", "survival")
    intro = (
        "A linear probe reads a label from an activation. It means something only beside what it is compared with: always "
        "answering the most frequent class (majority), and the same probe on labels drawn at random for each context (control)."
    )
