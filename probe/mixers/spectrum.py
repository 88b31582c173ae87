"""Which eigenvalues the transitions of a family may have, whatever its weights: what theory of state tracking asks of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AllowedSpectrum:
    """What a token's transition may be.

    low, high: between which the real parts of its eigenvalues lie.
    turns: whether one of them may be complex.
    reflections: in how many dimensions, at most, it may be an orthogonal map; 0 where it only keeps or shrinks.
    chosen: whether the token chooses it; else it is the same for all.
    commutes: whether transitions of different tokens commute, as diagonal ones do.
    """

    low: float = 0.0
    high: float = 1.0
    turns: bool = False
    reflections: int = 0
    chosen: bool = True
    commutes: bool = True

    def __str__(self) -> str:
        reach = f"eigenvalues in [{self.low:.3g}, {self.high:.3g}]"
        said = [reach if self.low < self.high else f"all eigenvalues {self.high:.3g}"]
        dimensions = "1 dimension" if self.reflections == 1 else f"{self.reflections} dimensions"
        said += ["complex ones"] * self.turns + [f"reflections in {dimensions}"] * bool(self.reflections)
        said += [] if self.chosen else ["no token chooses them"]
        return ", ".join(said)


def of_reflections(least: float, count: int) -> AllowedSpectrum:
    """What `count` factors I - beta k k^T of unit keys may be, and a decay, where 1 - beta lies in [least, 1], least -1 or 0.

    Two reflections turn. Where they only shrink along a key, the product of two has no eigenvalue that is negative or complex,
    and that of three may have both: three lines in a plane, 60 degrees apart, give -1/8.
    """
    flips = least < 0
    low = least if count < 3 else -1.0
    return AllowedSpectrum(low, 1.0, count >= (2 if flips else 3), count if flips else 0, commutes=False)


NO_DECAY = AllowedSpectrum(low=1.0, chosen=False)
DECAYS = AllowedSpectrum()
FIXED_DECAYS = AllowedSpectrum(chosen=False)
FIXED_ROTATIONS = AllowedSpectrum(low=-1.0, turns=True, chosen=False)
