"""Which groups a family of mixers can track: what is shown to be possible, what is shown to be impossible, and what is open.

The statements, each of a model of a fixed depth in finite precision, for words of every length:

    1  Where all eigenvalues of all transitions are real and not negative, parity is impossible at any depth, and with it every
       group that has an element of order 2; where transitions commute besides, so is Z_m for every m that is no power of 2, since
       products of them have no complex eigenvalue either (Grazzi et al. 2025, arXiv:2411.12537, theorems 1 and 2).
    2  A layer whose tokens choose orthogonal maps that move as many dimensions as the elements of a group do in a faithful
       representation tracks it: n reflections a token (Siems et al. 2025, arXiv:2502.10297; `expressivity` builds them).
    3  Two layers of one reflection a token track the cyclic and the dihedral groups, of which S3 is one (the same).
    4  A layer whose tokens choose complex numbers of modulus 1 tracks the cyclic groups: rotations of the plane (such as Katsch
       2023, arXiv:2311.01927).
    5  Transitions that commute, and softmax attention, stay in TC0, so that A5 and S5, whose word problems are complete for NC1,
       are impossible unless TC0 = NC1 (Merrill, Petty and Sabharwal 2024, arXiv:2404.08819; Merrill and Sabharwal 2023).
    6  A cell of enough units is any finite automaton (Minsky 1954; Siegelmann and Sontag 1995).

A layer with a linear transition whose family does not say which eigenvalues it allows leaves every group open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...probe.mixers import MixerConfig
from ...probe.mixers.spectrum import AllowedSpectrum
from ...probe.models.hooked import HookedModel
from .groups import inverses, reflections_needed
from .results.allowed_and_realised import Word

DIHEDRAL = ("S3",)
NOT_SOLVABLE = ("A5", "S5")
SOURCES = {
    1: "Grazzi et al. 2025, arXiv:2411.12537, theorems 1 and 2",
    2: "Siems et al. 2025, arXiv:2502.10297",
    3: "Siems et al. 2025, arXiv:2502.10297",
    4: "Katsch 2023, arXiv:2311.01927",
    5: "Merrill, Petty and Sabharwal 2024, arXiv:2404.08819",
    6: "Siegelmann and Sontag 1995",
}  # of the statements above


@dataclass(frozen=True)
class GroupVerdict:
    """What theory says of a group and a family. statement: the number of the statement that it rests on; 0 where it is open."""

    word: Word
    reason: str
    statement: int = 0

    @property
    def source(self) -> str:
        """Where the statement that it rests on is shown; nothing where it is open."""
        return SOURCES.get(self.statement, "")

    @property
    def grounds(self) -> str:
        """The reason, and where it is shown."""
        return f"{self.reason} ({self.source})" if self.source else self.reason

    def summary(self) -> str:
        """The verdict with its grounds."""
        return f"{self.word}: {self.grounds}"


@dataclass(frozen=True)
class LayerTransitions:
    """What the statements ask of a layer. allowed: the eigenvalues of its linear transitions; None where it has none, or where
    its family does not say. has_state: whether it is a recurrence. is_linear: whether it has linear transitions.
    """

    allowed: AllowedSpectrum | None
    has_state: bool
    is_linear: bool

    @classmethod
    def of_mixer(cls, mixer: MixerConfig) -> LayerTransitions:
        """Find what a layer with this mixer allows, whatever its weights."""
        linear = any(point.name == "attn.hook_transition" for point in mixer.points)
        return cls(mixer.allowed, mixer.has_state, linear)

    @classmethod
    def of_model(cls, model: HookedModel) -> list[LayerTransitions]:
        """Find what each layer of a model allows, ours or a loaded one, with the settings that it has."""
        linear = [model.mixer(layer).has_hook("attn.hook_transition") for layer in range(model.layers)]
        return [cls(model.allowed_spectrum(layer), model.has_state(layer), own) for layer, own in enumerate(linear)]


def group_verdict(mixers: MixerConfig | Sequence[MixerConfig | LayerTransitions], group: str) -> GroupVerdict:
    """What the statements above say of a group's word problem and a model whose layers have these mixers, one layer or several.

    Raises UnknownNameError for a group that is not known.
    """
    given = (mixers,) if isinstance(mixers, MixerConfig) else tuple(mixers)
    layers = [LayerTransitions.of_mixer(one) if isinstance(one, MixerConfig) else one for one in given]
    needed, cyclic = reflections_needed(group), group.startswith("Z")
    if any(layer.has_state and not layer.is_linear for layer in layers):
        return GroupVerdict("possible", "a cell of enough units is any finite automaton", 6)
    if any(layer.is_linear and layer.allowed is None for layer in layers):
        return GroupVerdict("open", "a layer's family does not say which eigenvalues it allows")
    spectra = [layer.allowed for layer in layers if layer.allowed is not None]
    chosen = [spectrum for spectrum in spectra if spectrum.chosen]
    if any(spectrum.reflections >= needed for spectrum in chosen):
        return GroupVerdict("possible", f"its elements take {_reflections(needed)}, and a token has as many", 2)
    if cyclic and any(spectrum.turns and spectrum.commutes for spectrum in chosen):
        return GroupVerdict("possible", "a token's complex eigenvalues turn as the group does", 4)
    if (cyclic or group in DIHEDRAL) and sum(spectrum.reflections >= 1 for spectrum in chosen) >= 2:
        return GroupVerdict("possible", "two layers of one reflection a token track cyclic and dihedral groups", 3)
    if all(spectrum.commutes for spectrum in spectra) and group in NOT_SOLVABLE:
        return GroupVerdict("impossible", "its word problem is complete for NC1, and such layers stay in TC0", 5)
    if len(spectra) == len(layers) and all(_never_negative(spectrum) for spectrum in spectra):
        if bool((inverses(group) == inverses(group).new_tensor(range(len(inverses(group))))).sum() > 1):
            return GroupVerdict("impossible", "it has an element of order 2, and no eigenvalue is negative or complex", 1)
        if all(spectrum.commutes for spectrum in spectra):
            return GroupVerdict("impossible", "it counts, and no product of the transitions has a complex eigenvalue", 1)
    few = max((spectrum.reflections for spectrum in chosen), default=0)
    return GroupVerdict("open", f"its elements take {_reflections(needed)}, a token has {few}; no statement here decides it")


def _reflections(count: int) -> str:
    return "1 reflection" if count == 1 else f"{count} reflections"


def _never_negative(spectrum: AllowedSpectrum) -> bool:
    return spectrum.low >= 0 and not spectrum.turns
