"""The state after a token and read-out of the state and all heads after a token: tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....probe.results.figure import Figure, Heatmap, Line, Panel
from ....probe.results.result import Result


@dataclass(frozen=True)
class StateAt(Result, kind="state_at"):
    """The matrix state after one token, what that token wrote, and what it erased; of complex ones the real part."""

    title: ClassVar[str] = "The state after a token"
    columns: ClassVar[dict[str, str]] = {
        "part": "state, written or erased",
        "key": "key channel, or channel of a vector state",
        "value": "value channel; 0 for a vector state",
        "entry": "the number there; its real part, where the state is complex",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("part",)

    def summary(self) -> str:
        """The size and rank of the state, and the sizes of what came and went."""
        about = self.about
        words = [f"{part} {norm:.3g}" for part, norm in about["norms"].items() if part != "state"]
        return (
            f"After token {about['position']} ({about['token']!r}): norm {about['norms']['state']:.4g}, effective rank "
            f"{about['effective_rank']:.2f} of {len(about['singular_values'])}; " + (", ".join(words) or "writes are not told")
        )

    def specification(self) -> Figure:
        """The parts as heat maps, and the singular values of the state, each on one scale over all tokens."""
        panels, reach = [], float(self.about["reach"])
        for part in dict.fromkeys(self.table["part"]):
            own = self.table[self.table["part"] == part].pivot(index="key", columns="value", values="entry")
            names = list(map(str, own.index)), list(map(str, own.columns))
            heat = Heatmap(own.to_numpy(), *names, "entry", diverging=True, limits=(-reach, reach))
            panels.append(Panel([heat], "value channel", "key channel", str(part)))
        values = np.asarray(self.about["singular_values"])
        line = Line(np.arange(1, len(values) + 1), values, "", markers=True)
        span = (0.0, 1.05 * float(self.about["largest_norm"]))
        panels.append(Panel([line], "rank", "", "singular values of the state", y_range=span))
        where = f"{self.about['model']}, layer {self.about['layer']}, head {self.about['head']}"
        alt = f"The state of {where} as a matrix. {self.summary()}"
        return Figure(self.title, panels, columns=len(panels), alt=alt, caption=f"{where}. {self.summary()}")


@dataclass(frozen=True)
class ReadOut(Result, kind="read_out"):
    """What a state gives to a query: S_t^T p by value channel, beside the value that stood with a key."""

    title: ClassVar[str] = "Read-out of the state"
    columns: ClassVar[dict[str, str]] = {
        "channel": "value channel",
        "read": "entry of S_t^T p",
        "value": "entry of the value that the chosen token wrote; nan where the mixer does not say",
    }
    selected_by: ClassVar[tuple[str, ...]] = ()

    def summary(self) -> str:
        """How near the read-out is to the value."""
        cosine = self.about["cosine"]
        near = "" if cosine is None else f"; cosine with the value written there {cosine:.3f}"
        return f"{self.about['query']}, read from the state after token {self.about['position']}{near}"

    def specification(self) -> Figure:
        """Draw what is read beside what was written, by channel."""
        channel = self.table["channel"].to_numpy()
        lines = [Line(channel, self.table["read"].to_numpy(), "read from the state")]
        if self.about["cosine"] is not None:
            lines.append(Line(channel, self.table["value"].to_numpy(), "value that was written", dashed=True))
        panel = Panel(lines, "value channel", "entry of the vector")
        return Figure(self.title, [panel], columns=1, alt=f"Read-out by value channel. {self.summary()}", caption=self.summary())


@dataclass(frozen=True)
class HeadStates(Result, kind="head_states"):
    """The matrix states of all heads of a layer after one token; of complex ones the real part."""

    title: ClassVar[str] = "All heads after a token"
    columns: ClassVar[dict[str, str]] = {
        "head": "head of the token mixer",
        "key": "key channel, or channel of a vector state",
        "value": "value channel; 0 for a vector state",
        "entry": "the number there; its real part, where the state is complex",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("head",)

    def summary(self) -> str:
        """The norm of each head's state."""
        norms = ", ".join(f"head {head}: {norm:.3g}" for head, norm in enumerate(self.about["norms"]))
        return f"Norms after token {self.about['position']}: {norms}"

    def specification(self) -> Figure:
        """A heat map a head, all on one scale."""
        panels, reach = [], float(self.table["entry"].abs().max()) or 1.0
        for head, own in self.table.groupby("head"):
            square = own.pivot(index="key", columns="value", values="entry")
            names = list(map(str, square.index)), list(map(str, square.columns))
            heat = Heatmap(square.to_numpy(), *names, "entry", diverging=True, limits=(-reach, reach))
            panels.append(Panel([heat], "", "", f"head {head}"))
        where = f"{self.about['model']}, layer {self.about['layer']}"
        return Figure(self.title, panels, columns=min(4, len(panels)), alt=f"{where}. {self.summary()}", caption=where)
