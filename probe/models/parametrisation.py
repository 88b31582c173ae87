"""How weights and their changes scale with the width: the standard, the neural tangent and the maximal update parametrisation.

A weight W is written as a fixed multiplier times what is trained, W = m w (Yang and Hu 2021, arXiv:2011.14522, "abc"). A gradient
step on w then changes W by m times as much as Adam would change it, and by m^2 times as much as SGD would.

    ntk   m = inputs^{-1/2}, w ~ N(0, 1) (Jacot et al. 2018, arXiv:1806.07572). The function at the start is the standard one;
          under SGD its features move by width^{-1/2}, and training becomes linear in w as the width grows.
    mup   Under Adam at one learning rate for all widths, every layer's features move by as much at each width (Yang et al. 2022,
          arXiv:2203.03466). With r = width / base_width: a matrix with inputs that grow has m = 1/r; where its outputs do not
          grow, as in the unembedding, it also starts r^{-1/2} times as large; a softmax query, whose head grows by s, has
          s^{-1/2} more, which makes the scores' scale 1/K. At base_width it is the standard one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from ..hooks.names import layer_of
from ..mixers.base import ComplexLinear
from .config import ModelConfig
from .hooked import HookedModel

LINEAR_LAYERS = (nn.Linear, ComplexLinear)


class Multiplier(nn.Module):
    """W = m w; `start` times the weight it is given is where W starts."""

    def __init__(self, multiplier: float, start: float = 1.0) -> None:
        super().__init__()
        self.multiplier, self.start = multiplier, start

    def forward(self, trained: Tensor) -> Tensor:
        return self.multiplier * trained

    def right_inverse(self, weight: Tensor) -> Tensor:
        start, self.start = self.start, 1.0  # later assignments are of the weight itself
        return start / self.multiplier * weight


def parametrise(model: HookedModel, config: ModelConfig, build: Callable[[ModelConfig], HookedModel]) -> None:
    """Write the weights of a new model as its configuration's parametrisation has them. build: makes a model of a configuration.

    Raises ValueError for "mup" where a weight outside linear maps grows in both directions (the recurrence of a cell), since its
    scale is not known, or where the model cannot be built at the base width.
    """
    if config.parametrisation == "ntk":
        for module in list(model.modules()):
            if isinstance(module, LINEAR_LAYERS):
                _scale(module, Multiplier(module.weight.shape[1] ** -0.5))
    if config.parametrisation == "mup":
        maximal_update(model, _at_base_width(config, build))


def maximal_update(model: nn.Module, base: nn.Module) -> None:
    """Write the weights of a new module in the maximal update parametrisation, for Adam at one learning rate for all widths.

    model: any module whose weights that grow with the width are linear maps. base: the same module at the width at which the
    parametrisation is the standard one. Raises ValueError for another weight that grows in both directions.
    """
    for module, multiplier in list(_multipliers(model, base)):
        _scale(module, multiplier)


def _scale(module: nn.Module, multiplier: Multiplier) -> None:
    with torch.no_grad():
        register_parametrization(module, "weight", multiplier)


def _multipliers(model: nn.Module, base: nn.Module) -> Iterator[tuple[nn.Module, Multiplier]]:
    """The linear maps whose inputs grow with the width, and their multipliers."""
    small = dict(base.named_modules())
    for name, module in model.named_modules():
        if not isinstance(module, LINEAR_LAYERS):
            _refuse_grown_matrices(name, module, small[name])
            continue
        of_base = small[name]
        assert isinstance(of_base, LINEAR_LAYERS)
        outputs, inputs = (own / other for own, other in zip(module.weight.shape[:2], of_base.weight.shape[:2], strict=True))
        multiplier = _of_scores(name, model, base) / inputs
        if multiplier != 1:
            start = inputs**-0.5 if outputs == 1 else multiplier * inputs
            yield module, Multiplier(multiplier, start)


def _of_scores(name: str, model: nn.Module, base: nn.Module) -> float:
    """What the query of a softmax over scores is multiplied by besides; 1 for every other map."""
    if not (isinstance(model, HookedModel) and isinstance(base, HookedModel) and name.endswith("attn.project.q")):
        return 1.0
    own, other = (one.mixer(layer_of(name) or 0) for one in (model, base))
    return (other.axis_sizes["key"] / own.axis_sizes["key"]) ** 0.5 if own.has_hook("attn.hook_pattern") else 1.0


def _at_base_width(config: ModelConfig, build: Callable[[ModelConfig], HookedModel]) -> HookedModel:
    config = replace(config, width=config.base_width, parametrisation="standard")
    try:
        return build(config)
    except ValueError as error:
        raise ValueError(f"this model cannot be built at base_width={config.width}, which mup scales from: {error}") from error


def _refuse_grown_matrices(name: str, module: nn.Module, of_base: nn.Module) -> None:
    for (own, parameter), (_, other) in zip(
        module.named_parameters(recurse=False), of_base.named_parameters(recurse=False), strict=True
    ):
        if sum(a != b for a, b in zip(parameter.shape, other.shape, strict=True)) > 1:
            raise ValueError(
                f"{name}.{own} grows with the width in two directions and is no linear map: its mup scale is not known"
            )
