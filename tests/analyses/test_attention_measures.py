"""Measures of mixing matrices on rows that are known, on models, and what erasure does to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.models import additive_of, mixing_of
from statescope.analyses.spectra.attention_measures import attention_measures, measures_of
from statescope.probe.mixers import (
    GRU,
    LRU,
    RWKV7,
    Attention,
    DeltaNet,
    GatedDeltaNet,
    GatedLinearAttention,
    KimiDeltaAttention,
    Mamba,
)


def small(mixer: Any) -> Model:
    return Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=mixer)).double().eval()


TOKENS = torch.randint(0, 5, (2, 13), generator=torch.Generator().manual_seed(0))


def test_rows_whose_measures_are_known() -> None:
    rows = torch.tensor([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, -2, 0, 0], [1, 1, 1, -1]], dtype=torch.float64)
    found = measures_of(rows[..., None])
    np.testing.assert_allclose(found["attended"].numpy(), [1, 2, 1, 4], rtol=1e-12)
    np.testing.assert_allclose(found["entropy"].numpy(), [0, math.log(2), 0, math.log(4)], atol=1e-12)
    np.testing.assert_allclose(found["concentration"].numpy(), [1, 0.5, 1, 0.25])
    np.testing.assert_allclose(found["reach"].numpy(), [0, 0.5, 1, 1.5])
    np.testing.assert_allclose(found["negative"].numpy(), [0, 0, 1, 0.25])
    np.testing.assert_allclose(found["own"].numpy(), [1, 0.5, 0, 1])
    assert measures_of(torch.zeros(2, 2, 1))["entropy"].isnan().all()


def test_the_spectral_gap_is_that_of_the_pattern() -> None:
    model = small(Attention(heads=2))
    result = attention_measures(model, TOKENS)
    patterns = {layer: mixing[:, :, 0, ..., 0] for layer, mixing, _ in mixing_of(model, TOKENS)}
    for row in result.spectral_gap().itertuples():
        moduli = np.sort(np.abs(np.linalg.eigvals(patterns[row.layer][row.sequence, row.head].numpy())))
        assert moduli[-1] == pytest.approx(1, abs=1e-9) and row.gap == pytest.approx(1 - moduli[-2], abs=1e-9)
        singular = np.linalg.svd(patterns[row.layer][row.sequence, row.head].numpy(), compute_uv=False)
        assert row.gap != pytest.approx(1 - singular[1], abs=1e-3)  # of singular values, the wrong variant
    assert (result.table["negative"] == 0).all() and result.table["erased"].isna().all() and "spectral gap" in result.summary()


@pytest.mark.parametrize(
    "mixer", [DeltaNet(heads=2), GatedDeltaNet(heads=2, householders=2), KimiDeltaAttention(heads=2), RWKV7(heads=2)]
)
def test_erasure_is_what_the_low_rank_of_the_transitions_does(mixer: Any) -> None:
    """A loop over tokens with A_t's diagonal alone, on unit values, gives the additive matrix."""
    model = small(mixer)
    names = [f"blocks.0.attn.hook_{name}" for name in ("q", "k", "v", "beta", "transition")]
    _, cache = model.run_with_cache(TOKENS, names_filter=[name for name in names if name in model.hook_dict])
    q, k, transition = (cache[f"blocks.0.attn.hook_{name}"].detach() for name in ("q", "k", "transition"))
    k = k if k.ndim == 5 else k[..., None, :]
    if "blocks.0.attn.hook_beta" in model.hook_dict:
        beta = cache["blocks.0.attn.hook_beta"].detach()
        k = k * beta.reshape(*k.shape[:-1], 1)
    additive = dict(additive_of(model, TOKENS))[0]
    diagonal = transition.diagonal.expand(*q.shape)
    held: list[torch.Tensor] = []
    for t in range(TOKENS.shape[1]):
        held = [diagonal[:, t, :, None] * keys for keys in held] + [k[:, t]]
        for source, keys in enumerate(held):
            expected = torch.einsum("bhk,bhnk->bhn", q[:, t], keys)
            assert float((additive[:, :, 0, t, source] - expected).abs().max()) < 1e-6
    result = attention_measures(model, TOKENS)
    first = result.table[result.table["position"] == 0]
    single = k.shape[3] == 1
    assert (first["erased"] < 1e-6).all() or not single  # nothing is stored that a first token with one key could erase
    assert (result.table[result.table["position"] > 3]["erased"] > 1e-4).all() and "erasure changes" in result.summary()


def test_what_only_decays_erases_nothing() -> None:
    for mixer in (GatedLinearAttention(heads=2), Mamba(state_size=3), LRU(state_size=3)):
        model = small(mixer)
        assert not dict(additive_of(model, TOKENS))
        table = attention_measures(model, TOKENS).table
        assert table["erased"].isna().all() and (table["attended"].between(1, table["position"] + 1 + 1e-9)).all()


def test_a_cell_has_no_mixing_matrix() -> None:
    with pytest.raises(ValueError, match="no layer of this model shows how it mixes tokens"):
        attention_measures(small(GRU(heads=2)), TOKENS)
