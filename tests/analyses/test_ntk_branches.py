"""Tangent kernels of models that branch by their samples, so that passes over them do different things with a parameter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statescope.analyses.ntk import plan
from statescope.analyses.ntk.empirical_ntk import empirical_ntk
from statescope.analyses.ntk.samples import Samples

Branch = Callable[["Branching", Tensor], Tensor]


class Branching(nn.Module):
    """Outputs of tokens by one of two branches, which the kind of the first sample tells."""

    def __init__(self, branches: tuple[Branch, Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.w, self.u, self.out = (nn.Parameter(torch.randn(8, n, dtype=torch.float64) / 3) for n in (8, 8, 3))
        self.register_buffer("words", torch.randn(2, 3, 8, dtype=torch.float64))

    def forward(self, tokens: Tensor, kind: Tensor) -> Tensor:
        return (self.branches[int(kind[0])](self, tokens).tanh() @ self.out).mean(1)


def words(model: Branching, tokens: Tensor, which: int = 0) -> Tensor:
    return model.get_buffer("words")[which][tokens]


def both(model: Branching, tokens: Tensor, which: int) -> Tensor:
    """Two products, of which one is thrown away."""
    return [words(model, tokens) @ model.w, words(model, tokens) @ model.u][which]


def of_either(model: Branching, tokens: Tensor, which: int) -> Tensor:
    """Products of two sets of words with one matrix, of which one is thrown away."""
    return [words(model, tokens, own) @ model.w for own in range(2)][which]


BRANCHES: dict[str, tuple[Branch, Branch]] = {
    "turned": (lambda m, t: words(m, t) @ m.w, lambda m, t: words(m, t) @ m.w.mT),
    "scaled": (lambda m, t: words(m, t) @ m.w, lambda m, t: words(m, t) @ (3 * m.w)),
    "twice": (lambda m, t: (words(m, t) @ m.w).tanh() @ m.w, lambda m, t: (words(m, t) @ m.w).tanh() @ m.u),
    "without a rule": (lambda m, t: words(m, t) @ m.w, lambda m, t: torch.tensordot(words(m, t), m.w, 1)),
    "not at all": (lambda m, t: both(m, t, 0), lambda m, t: both(m, t, 1)),
    "two inputs": (lambda m, t: of_either(m, t, 0), lambda m, t: of_either(m, t, 1)),
}


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("samples", [4, 16])
@pytest.mark.parametrize("branches", BRANCHES)
def test_passes_with_other_uses_of_a_parameter_make_the_same_kernel(
    branches: str, samples: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few words differ, so that products with a matrix are had from coordinates of them, in one basis or not at all."""
    model = Branching(BRANCHES[branches])
    tokens, kind = torch.randint(0, 3, (samples, length)), torch.arange(samples) * 2 // samples
    exact = _by_autograd(model, tokens, kind)
    monkeypatch.setattr(plan, "CACHED", 1)
    for output, own in (("full", exact), ("trace", torch.einsum("iojo->ij", exact)), (1, exact[:, 1, :, 1])):
        found = empirical_ntk(model, Samples(tokens, kind), output=output)  # type: ignore[arg-type]
        assert (found - own).norm() < 1e-12 * own.norm()


def _by_autograd(model: Branching, *inputs: Tensor) -> Tensor:
    """[N, O, N, O] from the gradient of each sample's outputs, one after another."""
    leaves, rows = list(model.parameters()), list[Any]()
    for each in zip(*inputs, strict=True):
        outputs = model(*(value[None] for value in each))[0]
        own = [torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True) for value in outputs]
        rows.append(torch.stack([torch.cat([part.flatten() for part in parts]) for parts in own]))
    jacobian = torch.stack(rows)
    return torch.tensordot(jacobian, jacobian, ([2], [2]))
