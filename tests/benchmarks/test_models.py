"""Speed of what looks inside, as ratios against a named peer in one process. `make bench` prints the table."""

from __future__ import annotations

import pytest
import torch
from statescope import GatedDeltaNet, Model, ModelConfig, Transition
from timing import compare

pytestmark = pytest.mark.benchmark


def report(what: str, first: str, second: str, ratio: object, wanted: str) -> None:
    print(f"\n{what}\n  {first}: {ratio.first:.2f} ms   {second}: {ratio.second:.2f} ms   ratio {ratio.ratio:.3f} ({wanted})")


def test_caching_the_residual_stream_against_a_plain_forward() -> None:
    model = Model(ModelConfig(vocabulary=256, width=128, layers=2, mixer=GatedDeltaNet(heads=4))).eval()
    tokens = torch.randint(0, 256, (4, 512))
    hooks = ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_mid", "blocks.*.hook_resid_post"]

    def cached() -> torch.Tensor:
        return model.run_with_cache(tokens, names_filter=hooks)[0]

    with torch.no_grad():
        assert torch.equal(cached(), model(tokens))
        ratio = compare(cached, lambda: model(tokens))
    report("run_with_cache of residual streams, 2 layers, width 128, 4 x 512", "cached", "plain", ratio, "at most 1.15")
    assert ratio.ratio <= 1.15


def test_eigenvalues_of_transitions_against_the_dense_solver() -> None:
    keys = torch.nn.functional.normalize(torch.randn(512, 1, 64, dtype=torch.float64), dim=-1)
    transition = Transition.householders(keys, 2 * torch.rand(512, 1, dtype=torch.float64), -torch.rand(512, dtype=torch.float64))
    dense = transition.dense()
    found, exact = transition.eigenvalues(), torch.linalg.eigvals(dense)
    torch.testing.assert_close(found.real.sort().values, exact.real.sort().values, atol=1e-10, rtol=0)
    assert exact.imag.abs().max() < 1e-10
    ratio = compare(lambda: torch.linalg.eigvals(dense), transition.eigenvalues, pairs=5)
    report("eigenvalues of 512 transitions, K=64, one key, float64", "torch.linalg.eigvals", "Transition", ratio, "at least 100")
    assert ratio.ratio >= 100
