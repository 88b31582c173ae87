"""A text that a model reads while one waits, and tokens that it goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import streamlit as st
import torch
from torch import Tensor

from ...probe.errors import StatescopeError
from ...probe.runs.manifest import installed_packages
from ...probe.tasks.spelling import UnreadableTextError
from .address import asked_for, recall, remember
from .choose import choose_number
from .live_model import LiveModel
from .origin import Origin, arguments_of
from .text import literal

T = TypeVar("T")
LONGEST = 8000  # letters, which stand in the address
MOST_MADE = 128
PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class LiveReading(Origin):
    """A model and the tokens that it reads.

    tokens: of the text, and behind them what the model made. read: how many are of the text. made_by: the call of a result, as
    Python; imports: the line that it needs; before: lines that stand before it.
    """

    live: LiveModel
    tokens: tuple[int, ...]
    read: int
    texts: tuple[str, ...]
    made_by: str = ""
    imports: str = ""
    before: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the model, as it may stand in a file's name."""
        return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self.live.name)

    @cached_property
    def digest(self) -> str:
        """The tokens in short, for a key: to hash thousands of numbers one by one would take longer than a step may."""
        return hashlib.sha256(repr(self.tokens).encode()).hexdigest()

    @property
    def tensor(self) -> Tensor:
        """Give the tokens as a tensor [T]."""
        return torch.tensor(self.tokens)

    def by(self, imports: str, made_by: str, before: Sequence[str] = ()) -> LiveReading:
        """The same reading, for a result that this call makes of `model` and `tokens` [1, T], behind other lines."""
        return replace(self, made_by=made_by, imports=imports, before=tuple(before))

    def provenance(self, name: str, where: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        about = self.live.about() | {"result": name, "selection": dict(where), "tokens": list(self.tokens)}
        return about | {"of the text": self.read, "packages": installed_packages(), "made by": self.made_by} | more

    def code(self, name: str, where: Mapping[str, Any]) -> str:
        opened, _, model = self.live.code.partition("\n\n")
        drawn = f"result.figure({arguments_of(where)}).show()"
        tokens = f"tokens = torch.tensor([{list(self.tokens)}])"
        made = [*self.before, f"result = {self.made_by}", drawn]
        return "\n".join(["import torch", opened, self.imports, "", model, tokens, *made])

    def compute(self, what: str, make: Callable[[], T], *parameters: Any) -> T:
        """A thing that is computed from the model and the tokens: once for the same parameters, by one thread at a time."""
        found: T = _computed(self, make, self.live.key, self.digest, what, parameters)
        return found


@st.cache_resource(max_entries=24, show_spinner="the model reads")
def _computed(_reading: LiveReading, _make: Callable[[], Any], key: str, digest: str, what: str, parameters: Any) -> Any:
    with _reading.live.lock:
        return _make()


def choose_reading(live: LiveModel) -> LiveReading | None:
    """A text to type and how many tokens the model makes behind it; None with the reason on the page where it cannot be read."""
    given = asked_for("text") or ""
    if len(given) > LONGEST:
        st.warning(f"The address holds a text of {len(given)} letters; {LONGEST} are read at most, and an example is shown.")
    recall("text", live.example)
    text = st.text_area("text", key="text", bind="query-params", max_chars=LONGEST, height=96, help=_how_to_write(live))
    remember("text", text)
    columns = st.columns([1, 1, 1, 1], vertical_alignment="bottom")
    count = choose_number("tokens to generate", "generate", 0, MOST_MADE, 0, 1, where=columns[0])
    temperature = choose_number("temperature", "temperature", 0.0, 5.0, 0.0, 0.1, where=columns[1])
    seed = choose_number("seed", "draw", 0, 999_999, 0, 1, where=columns[2])
    columns[3].button("Use an example", on_click=lambda: st.session_state.update(text=live.example))
    try:
        tokens = tuple(live.spelling.read(text))
    except UnreadableTextError as error:
        st.error(f"The model cannot read this: {literal(error)}")
        return None
    if not tokens:
        st.info("Type a text, or use the example.", icon=":material/info:")
        return None
    if _is_too_long(live, len(tokens) + count) or not _is_patient(live, len(tokens), count):
        return None
    try:
        every = _generated(live, live.key, tokens, count, temperature, seed) if count else tokens
    except (StatescopeError, ValueError, RuntimeError) as error:
        st.error(f"The model does not go on from here: {literal(error)}")
        return None
    return LiveReading(live, every, len(tokens), tuple(live.spelling.show(every)))


def _how_to_write(live: LiveModel) -> str:
    shown = live.spelling.show(live.spelling.read(live.example)[:6])
    return "The model reads tokens such as " + literal(" ".join(shown))


def _is_too_long(live: LiveModel, length: int) -> bool:
    longest = live.model.longest
    if longest is None or length <= longest:
        return False
    st.error(f"These are {length} tokens, and the model reads {longest} at most. Take a shorter text.")
    return True


def _is_patient(live: LiveModel, length: int, count: int) -> bool:
    """Whether the answer comes soon, or its reader says that they wait for it."""
    seconds = live.second_a_token * (length + count * (1 if not live.model.rereads else length))
    if seconds <= PATIENCE:
        return True
    st.warning(
        f"To read {length + count} tokens takes about {seconds:.0f} s on this machine. `statescope.capture(model, texts)` in a "
        "script does it in the background, and keeps what it saw."
    )
    return st.checkbox(f"Wait for it, about {seconds:.0f} s", key=f"wait-{live.name}-{length + count}")


@st.cache_data(max_entries=64, show_spinner="the model goes on")
def _generated(_live: LiveModel, key: str, tokens: tuple[int, ...], count: int, temperature: float, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    with _live.lock:
        made = _live.model.generate(torch.tensor([tokens]), count, temperature=temperature, generator=generator)
    return tuple(made[0].tolist())
