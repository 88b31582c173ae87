"""From softmax attention to a linear mixer that takes over its projections.

Three ways: "hedgehog" learns feature maps that mimic the softmax (Zhang et al. 2024, arXiv:2402.04347); "gla", Liger, reads a
gate off the keys and adds no parameter (arXiv:2503.01496); "mamba" takes queries, keys and values as C, B and x, with a new step
and decay (arXiv:2408.15237). `transfer` then trains each new mixer alone to do what the old one did on the teacher's own
residual stream; `add_low_rank` prepares a fine-tuning in which the old matrices stay (Hu et al. 2021, arXiv:2106.09685).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import unknown_name
from ..hooks.names import hook_name, resolve_layer
from ..mixers import Attention, LinearAttention, MixerConfig
from ..mixers.base import StateRequest
from ..mixers.heads import HeadsConfig
from ..mixers.linearized import Linearized
from ..tasks.base import Task, generator_for
from .blocks import Block
from .model import Model

Target = Literal["hedgehog", "gla", "mamba"]
LINEAR_MIXERS: dict[Target, HeadsConfig] = {
    "hedgehog": LinearAttention(feature_map="hedgehog", rotary=True),
    "gla": Linearized(form="gla"),
    "mamba": Linearized(form="mamba"),
}


def linearize(teacher: Model, target: Target, *, keep: Sequence[int] = (), feature_map: str | None = None) -> Model:
    """A copy of `teacher` whose softmax layers, but those in `keep`, are linear mixers with the same projections.

    keep: layers that stay softmax.
    feature_map: another name of `feature_maps.py` in place of the target's own, which makes a control.

    Raises ValueError where there is no softmax layer to replace, and for a feature map where the target has none.
    """
    if target not in LINEAR_MIXERS:
        raise unknown_name("target", target, LINEAR_MIXERS)
    mixer = LINEAR_MIXERS[target]
    if feature_map is not None:
        if not isinstance(mixer, LinearAttention):
            raise ValueError(f'"{target}" has no feature map to replace by {feature_map!r}; "hedgehog" has one')
        mixer = replace(mixer, feature_map=feature_map)
    config, keep = teacher.config, [resolve_layer(layer, teacher.layers, what="keep") for layer in keep]
    replaced = [layer for layer in range(teacher.layers) if isinstance(config.mixer_of(layer), Attention) and layer not in keep]
    if not replaced:
        raise ValueError(f"no softmax layer to replace: layer 0 is {config.mixer_of(0).kind}, and layers {list(keep)} are kept")
    mixers = tuple(
        _with_sizes_of(config.mixer_of(layer), mixer) if layer in replaced else config.mixer_of(layer)
        for layer in range(teacher.layers)
    )
    student = Model(replace(config, mixer=mixers))
    student.load_state_dict(teacher.state_dict(), strict=False)  # the new mixers have their projections under the same names
    student.to(teacher.W_U.dtype)
    return student.eval()


def _with_sizes_of(old: MixerConfig, new: HeadsConfig) -> MixerConfig:
    assert isinstance(old, Attention)
    return replace(new, heads=old.heads, key_size=old.key_size, value_size=old.value_size)


def transfer(
    student: Model, teacher: Model, task: Task, *, steps: int, batch: int, length: int, rate: float = 1e-2, seed: int = 0
) -> list[float]:
    """Train the new mixers in place, each on the teacher's input of its layer; the losses, step by step.

    Where both show an attention map the loss is the cross-entropy of the student's against the teacher's, in nats; else it is the
    squared difference of their outputs over the teacher's square. Other parameters stay.
    """
    changed = [layer for layer in range(student.layers) if student.config.mixer_of(layer) != teacher.config.mixer_of(layer)]
    parameters = [p for layer in changed for p in student.mixer(layer).parameters()]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    losses = []
    for step in range(steps):
        tokens = task.batch(batch, length, "train", generator_for(seed, step)).tokens
        optimizer.zero_grad()
        loss = torch.stack([_mismatch(student, teacher, layer, tokens) for layer in changed]).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _mismatch(student: Model, teacher: Model, layer: int, tokens: Tensor) -> Tensor:
    maps = hook_name(layer, "attn.hook_pattern")
    names = [hook_name(layer, "hook_resid_pre"), hook_name(layer, "hook_attn_out"), maps]
    with torch.no_grad():
        _, cache = teacher.run_with_cache(tokens, names_filter=names, stop_at_layer=layer + 1)
    entering = cache[names[0]]
    if isinstance(student.config.mixer_of(layer), LinearAttention):
        found = layer_attention(student, layer, entering)
        return -(cache[maps] * found.clamp_min(1e-12).log()).sum(-1).mean()
    wanted = cache[names[1]]
    return (_mixed(student, layer, entering) - wanted).square().sum() / wanted.square().sum()


def _mixed(model: Model, layer: int, entering: Tensor) -> Tensor:
    """What a layer's token mixer gives for a residual stream entering the layer."""
    block = model.blocks[layer]
    assert isinstance(block, Block)
    mixed: Tensor = block.attn(block.ln1(entering), StateRequest())
    return mixed


def layer_attention(model: Model, layer: int, entering: Tensor) -> Tensor:
    """The attention of a layer [B, H, T, T] on a residual stream entering it; for a linear mixer its effective attention."""
    place = "attn.hook_pattern" if model.mixer(layer).has_hook("attn.hook_pattern") else "attn.hook_effective_attention"
    name, seen = hook_name(layer, place), []
    with model.hooks(fwd_hooks=[(name, lambda value, hook: seen.append(value))]):
        _mixed(model, layer, entering)
    found: Tensor = seen[0]
    return found


class LowRankChange(nn.Module):
    """W + B A with A [r, inputs] random and B [outputs, r] zero at the start."""

    def __init__(self, outputs: int, inputs: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inward = nn.Parameter(torch.randn(rank, inputs, generator=generator) / inputs**0.5)
        self.outward = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.outward @ self.inward


def add_low_rank(model: Model, rank: int, *, seed: int = 0) -> int:
    """Freeze a model in place but for a change of low rank in each matrix of its token mixers; the number of new parameters."""
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    added = 0
    for layer in range(model.layers):
        for module in list(model.mixer(layer).modules()):
            if isinstance(module, nn.Linear):
                outputs, inputs = module.weight.shape
                change = LowRankChange(outputs, inputs, rank, generator).to(module.weight.dtype)
                parametrize.register_parametrization(module, "weight", change)
                added += sum(parameter.numel() for parameter in change.parameters())
    return added
