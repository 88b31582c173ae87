"""A model that the user's own code runs: its output is untouched, and the states are those of the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from foreign_models import FOREIGN
from torch import nn

from statescope import Model, ModelConfig, load, observe
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders.agreement import torch_paths
from statescope.probe.loaders.observation.gates import reduced
from statescope.probe.loaders.observation.observe import UnobservedError
from statescope.probe.results.gates import Gates
from statescope.probe.results.result import Result

PROMPT = torch.randint(3, 31, (2, 6), generator=torch.Generator().manual_seed(0))
GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
FAMILIES = ["qwen3_next", "kimi_linear", "mamba", "mamba2", "recurrent_gemma", "minimax", "xlstm"]


@pytest.mark.parametrize("name", FAMILIES)
def test_generate_is_untouched_and_leaves_the_states_of_its_tokens(name: str) -> None:
    """Against the loaded model's run on the whole sequence that was generated: states, and transitions where there are any."""
    model = FOREIGN[name]()
    with torch_paths(model):
        plain = model.generate(PROMPT, **GREEDY)
        with observe(model, keep="states") as seen:
            watched = model.generate(PROMPT, **GREEDY)
        again = model.generate(PROMPT, **GREEDY)
    assert torch.equal(plain, watched) and torch.equal(plain, again)
    (run,) = seen
    assert torch.equal(run.tokens, watched[:, :-1])
    whole = load(model)
    layers = [layer for layer in range(whole.layers) if whole.has_state(layer)]
    names = ["*.hook_state", *(["*.hook_transition"] if "blocks.0.attn.hook_transition" in whole.hook_dict else [])]
    _, cache = whole.run_with_cache(watched[:, :-1], names_filter=names, taps=[3, 8, 10])
    assert list(seen.layers) == list(range(len(layers)))
    for number, layer in enumerate(layers):
        torch.testing.assert_close(run.states(number, [3, 8, 10]), cache["state", layer], rtol=1e-4, atol=1e-5)
        wrong = run.states(number, [2, 7, 9])  # one token too early
        assert float((wrong - cache["state", layer]).norm() / wrong.norm()) > 1e-2
        if len(names) > 1:
            made, theirs = run.transition(number).dense(), cache["transition", layer].dense()
            torch.testing.assert_close(made, theirs, rtol=1e-4, atol=1e-5)


def test_gates_are_those_of_the_hooks_and_cost_no_states() -> None:
    model = FOREIGN["qwen3_next"]()
    with torch_paths(model), observe(model) as seen:
        made = model.generate(PROMPT, **GREEDY)
        model(input_ids=made[:1], use_cache=False)
    assert len(seen) == 2 and seen[1].tokens.shape == (1, 12)
    whole = load(model)
    _, cache = whole.run_with_cache(made[:, :-1], names_filter=["*.hook_log_decay", "*.hook_beta"])
    gates = seen.gate_table()
    own = gates.select(run=0, layer=0, head=1).table.sort_values(["sequence", "position"])
    decay, beta = (cache[name, 0][..., 1].flatten().double() for name in ("log_decay", "beta"))
    np.testing.assert_allclose(own["decay"], decay.exp(), rtol=1e-5)
    np.testing.assert_allclose(own["half_life"], np.log(2) / -decay, rtol=1e-5)
    np.testing.assert_allclose(own["beta"], beta, rtol=1e-5)
    assert own["token"].tolist() == made[:, :-1].flatten().tolist()
    assert "half-life" in gates.summary() and gates.specification().panels and gates.about["layers"] == {"0": seen.layers[0]}
    assert seen.overhead > 0
    with pytest.raises(UnobservedError, match='keep="states"'):
        seen[0].states(0)
    with pytest.raises(UnknownNameError):
        seen[0].states(3)


def test_a_small_budget_reads_as_it_goes(tmp_path: Any) -> None:
    model = FOREIGN["mamba2"]()
    tables = []
    for budget in (2**30, 1):
        with torch_paths(model), observe(model, budget_bytes=budget) as seen:
            model.generate(PROMPT, **GREEDY)
        tables.append(seen.gate_table())
    assert tables[0].table.equals(tables[1].table)
    loaded = Result.load(tables[0].save(tmp_path / "gates.parquet"))
    assert isinstance(loaded, Gates) and loaded.table.equals(tables[0].table)


def test_what_is_not_seen_whole_raises() -> None:
    model = FOREIGN["mamba2"]()
    beams = FOREIGN["minimax"]()
    with torch_paths(beams), pytest.raises(UnobservedError, match="change places between steps"), observe(beams):
        beams.generate(PROMPT, **(GREEDY | {"num_beams": 2}))
    begun = model(input_ids=PROMPT, use_cache=True)
    with pytest.raises(UnobservedError, match="begin to observe before the prompt"), observe(model):
        model(input_ids=PROMPT[:, :1], cache=begun.cache_params, use_cache=True)
    with pytest.raises(UnobservedError, match="RWKV-4 cannot be observed"):
        observe(FOREIGN["rwkv"]())
    with pytest.raises(UnknownNameError, match="has no recurrence that is known here"):
        observe(nn.Linear(3, 3))
    with pytest.raises(TypeError, match="run_with_cache"):
        observe(Model(ModelConfig(vocabulary=5, width=8, layers=1)))
    with observe(model) as seen:
        pass
    with pytest.raises(UnobservedError, match="has not run"):
        seen.gate_table()


def test_an_error_of_the_users_code_passes_and_leaves_nothing_behind() -> None:
    model = FOREIGN["mamba2"]()
    before = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), observe(model):
        model(input_ids=PROMPT)
        _ = 1 / 0
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()] == before
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_cache_can_be_cropped_again_once_nobody_watches() -> None:
    model = FOREIGN["minimax"]()
    with torch_paths(model):
        with observe(model):
            cache = model(input_ids=PROMPT, use_cache=True).past_key_values
            model(input_ids=PROMPT[:, :1], past_key_values=cache, use_cache=True)
            with pytest.raises(UnobservedError, match="change places"):
                cache.reorder_cache(torch.tensor([1, 0]))
        keys = [layer.keys.clone() for layer in cache.layers if getattr(layer, "keys", None) is not None]
        cache.reorder_cache(torch.tensor([1, 0]))
    turned = [layer.keys for layer in cache.layers if getattr(layer, "keys", None) is not None]
    assert keys and all(torch.equal(now, before.flip(0)) for now, before in zip(turned, keys, strict=True))


def test_half_lives_follow_from_decays() -> None:
    tokens = {"decay": torch.tensor([[[[0.5, 0.5]], [[-0.25, 1.0]]]])}  # [B, T, H, C]
    found = reduced(tokens)
    torch.testing.assert_close(found["log_decay"].exp(), torch.tensor([[[0.5], [0.5]]]))
    torch.testing.assert_close(found["sign"], torch.tensor([[[1.0], [-1.0]]]))
