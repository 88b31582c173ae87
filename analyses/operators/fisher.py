"""The Fisher information of a model that gives distributions over classes, and the matrix of its own labels' gradients.

    F = E_x E_{y ~ p(.|x)} g g^T,   g = d log p(y | x) / d parameters = J^T (e_y - p)       `Fisher`
    E = E_(x, y)           g g^T,   with the labels y of the data                           `EmpiricalFisher`

The two are not the same, and the second is no approximation of the first away from a model that fits its data in distribution
(Kunstner et al. 2019, arXiv:1905.12558). f are the outputs [..., K] before the softmax, p = softmax(f); every place before the
last axis, such as a token, is a distribution of its own, and E is the mean over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import one_hot

from .curvature import InOutputs


class Fisher(InOutputs):
    """F = mean of J^T (diag(p) - p p^T) J, the expectation over the model's own labels in closed form.

    It equals the Gauss-Newton matrix of the cross-entropy, whatever the labels (Martens 2020, arXiv:1412.1193).
    """

    def __init__(self, model: nn.Module, batches: Sequence[Tensor]) -> None:
        """Keep a float64 copy of the parameters and the batches.

        model: as every operator on parameters has it; its outputs are logits [..., K]. batches: inputs alone.
        """
        super().__init__(model, [(inputs, None) for inputs in batches])

    def _curved(self, outputs: Tensor, targets: Any, moved: Tensor) -> Tensor:
        p = outputs.softmax(-1)
        return p * (moved - (p * moved).sum(-1, keepdim=True)) / _places(outputs)


class EmpiricalFisher(InOutputs):
    """E = mean of g g^T over the labels of the data, g the gradient of one label's log-probability.

    Each label counts by itself: of a sequence of labels it is not the square of their summed gradient.
    """

    def __init__(self, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep a float64 copy of the parameters and the batches.

        model: as every operator on parameters has it; its outputs are logits [..., K]. batches: (inputs, labels [...] from 0).

        A product raises ValueError for labels of another shape than the outputs', or outside 0 .. K - 1.
        """
        super().__init__(model, batches)

    def _curved(self, outputs: Tensor, targets: Any, moved: Tensor) -> Tensor:
        if targets.shape != outputs.shape[:-1] or bool((targets < 0).any()) or int(targets.max()) >= outputs.shape[-1]:
            raise ValueError(
                f"labels {list(targets.shape)} must be one for each distribution of the outputs {list(outputs.shape)}, and lie "
                f"in 0 .. {outputs.shape[-1] - 1}"
            )
        apart = one_hot(targets, outputs.shape[-1]) - outputs.softmax(-1)
        return apart * (apart * moved).sum(-1, keepdim=True) / _places(outputs)


def _places(outputs: Tensor) -> int:
    return outputs[..., 0].numel()
