"""Captures with a concept that was put there."""

from __future__ import annotations

import torch

from statescope.probe.captures.capture import Capture


def planted(
    groups: int, seed: int, *, strength: float = 2.0, features: int = 12, positions: int = 4, offset: int = 0, world: int = 99
) -> Capture:
    """Activations that hold a three-valued concept along fixed directions, and noise that holds nothing; 3 sequences a group."""
    shared, own = torch.Generator().manual_seed(world), torch.Generator().manual_seed(seed)
    directions = torch.randn(3, features, generator=shared)
    tokens = torch.randint(0, 5, (groups * 3, 8), generator=own)
    label = torch.randint(0, 3, (groups * 3, positions), generator=own)
    noise = torch.randn(groups * 3, positions, features, generator=own)
    held = noise + strength * directions[label]
    nothing = torch.randn(groups * 3, positions, features, generator=own)
    return Capture(
        {"blocks.0.hook_resid_post": held, "blocks.1.hook_resid_post": nothing},
        {"concept": label},
        tokens,
        torch.arange(groups).repeat_interleave(3) + 1000 * seed + offset,
        tuple(range(4, 4 + positions)),
    )
