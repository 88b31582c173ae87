"""What probes read, beside what they are compared with, and how it survives."""

from __future__ import annotations

import streamlit as st

from ...probe.results.result import Result
from ...probe.statistics.scores import ProbeScores
from .page import Page

NUMBERS = ("score", "majority", "control", "selectivity", "null", "p", "q", "code (bits)", "uniform (bits)")


class Probes(Page, kind="probes"):
    """The page shows probes beside their controls."""

    title = "Probes"
    icon = ":material/ssid_chart:"
    order = 30
    shows = ("probe_scores", "probe_comparison", "sample_curve", "calibration", "survival", "board_frames")
    intro = (
        "A probe reads a label from an activation. It means something only beside what it is compared with: always answering the "
        "most frequent class (majority), the same probe on labels drawn at random for each context (control), labels dealt to "
        "other sources (null), and the bits that a code without the activations takes (uniform)."
    )

    def draw_below(self, name: str, rows: Result | None) -> None:
        if not isinstance(rows, ProbeScores):
            return
        st.caption(
            "The evidence for each probe. Chosen is the activation that did best in the validation inside the training data."
        )
        numbers = {column: st.column_config.NumberColumn(format="%.3f") for column in NUMBERS}
        st.dataframe(rows.evidence(), column_config=numbers, hide_index=True, key=f"evidence-{name}")
