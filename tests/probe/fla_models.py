"""Tiny models of flash-linear-attention, run by the library itself on Triton's interpreter.

`python fla_models.py FOLDER` (with TRITON_INTERPRET=1) writes one folder a model, as the library saves it, and beside it the
library's own logits, the state of its first layer after each of the first tokens, and what `observe` saw of that state meanwhile;
and, in agreement.json, how far our run of each is from the library's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

T, STEPS, V, W = 12, 3, 31, 32
HEADS: dict[str, Any] = {"num_heads": 2}
SIZED: dict[str, Any] = HEADS | {"head_dim": 8, "expand_v": 2}
REBASED: dict[str, Any] = HEADS | {"num_key_value_heads": 2, "feature_dim": 16}
# Settings, and whether the library keeps states as [value, key].
MODELS: dict[str, tuple[dict[str, Any], bool]] = {
    "LinearAttention": (HEADS | {"expand_k": 0.5}, False),
    "RetNet": (HEADS | {"expand_k": 0.5, "expand_v": 1.0}, False),
    "GLA": (HEADS | {"use_short_conv": True}, True),
    "HGRN2": (HEADS | {"expand_ratio": 8}, True),
    "GSA": (HEADS | {"num_slots": 8, "expand_k": 0.5}, False),
    "DeltaNet": (HEADS | {"expand_k": 0.5, "allow_neg_eigval": True}, False),
    "GatedDeltaNet": (SIZED | {"allow_neg_eigval": True}, True),
    "GatedDeltaProduct": (SIZED | {"num_householder": 2, "allow_neg_eigval": True}, False),
    "KDA": (SIZED | {"num_v_heads": 2}, True),
    "RWKV7": ({"head_dim": 16}, False),
    "RWKV6": (HEADS | {"proj_low_rank_dim": 8, "gate_low_rank_dim": 8}, False),
    "HGRN": ({}, False),
    "LightNet": (HEADS | {"expand_ratio": 8, "gate_low_rank_dim": 8}, True),
    "Comba": (SIZED, False),
    "Mamba2": ({"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8}, True),
}


# Of softmax attention: logits alone.
OF_SOFTMAX: dict[str, dict[str, Any]] = {"ForgettingTransformer": HEADS | {"num_kv_heads": 1}}


# Layers of which the library has no whole model: file and class, settings, and whether it hands out the state it ends in.
LAYERS: dict[str, tuple[tuple[str, str], dict[str, Any], bool]] = {
    "simple GLA": (("simple_gla", "SimpleGatedLinearAttention"), HEADS | {"expand_k": 0.5, "num_kv_heads": 1}, True),
    "ReBased": (("rebased", "ReBasedLinearAttention"), REBASED, False),
}


def write_models(folder: Path) -> None:
    """In a process of its own: the interpreter is chosen when the library is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def made_model(name: str, settings: dict[str, Any]) -> Any:
    import fla.models
    import torch

    torch.manual_seed(0)
    sizes = {"hidden_size": W, "num_hidden_layers": 2, "vocab_size": V, "pad_token_id": 0}
    config = getattr(fla.models, f"{name}Config")(**(sizes | ({} if name == "Mamba2" else {"intermediate_size": 48}) | settings))
    model = getattr(fla.models, f"{name}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(std=0.6 * parameter.shape[-1] ** -0.5)
    return model


def made_layer(name: str) -> Any:
    import torch

    torch.manual_seed(0)
    (place, kind), settings, _ = LAYERS[name]
    layer = getattr(import_module(f"fla.layers.{place}"), kind)(hidden_size=W, layer_idx=0, **settings).eval()
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.6 * W**-0.5) if parameter.ndim >= 2 else parameter.data.add_(0.1)
    return layer


def _write_layer(name: str, folder: Path) -> None:
    """What the layer gives, by the library's kernels, and the state after the first tokens."""
    import torch
    from fla.models.utils import Cache
    from safetensors.torch import save_file

    layer, x, cache = made_layer(name), torch.randn(2, T, W), Cache()
    with torch.no_grad():
        out = layer(x)
        truth = {"x": x, "out": out[0] if isinstance(out, tuple) else out}
        if LAYERS[name][2]:
            layer(x[:, :STEPS], past_key_values=cache, use_cache=True)
            truth["state"] = cache[0]["recurrent_state"].mT
    save_file({key: value.contiguous() for key, value in truth.items()}, folder / f"{name}.safetensors")


def _write_logits(name: str, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    model, tokens = made_model(name, OF_SOFTMAX[name]), torch.randint(3, V, (2, T))
    with torch.no_grad():
        save_file({"tokens": tokens, "logits": model(tokens).logits}, folder / f"{name}.safetensors")
    model.save_pretrained(folder / name)


def _write(name: str, folder: Path) -> list[float]:
    import torch
    from safetensors.torch import save_file

    from statescope import load, observe
    from statescope.probe.loaders.agreement import check_agreement

    settings, value_first = MODELS[name]
    model = made_model(name, settings)
    tokens = torch.randint(3, V, (2, T))
    with torch.no_grad():
        logits = model(tokens).logits
        cache, states = None, []
        with observe(model, keep="states") as seen:
            for t in range(STEPS):
                cache = model(tokens[:, t : t + 1], past_key_values=cache, use_cache=True).past_key_values
                state = cache[0]["recurrent_state"]
                state = state[-1] if isinstance(state, list | tuple) else state
                state = state[:, None] if state.ndim == 2 else state  # without heads
                states.append((state.mT if value_first else state).clone())
    model.save_pretrained(folder / name)
    (run,) = seen
    truth = {"tokens": tokens, "logits": logits, "states": torch.stack(states, 1), "observed": run.states(0, taps="all")}
    save_file({key: x.contiguous() for key, x in truth.items()}, folder / f"{name}.safetensors")
    loaded = [load(folder / name), *([load(model)] if name == "Mamba2" else [])]  # whose folder transformers reads
    agreements = [check_agreement(own, tokens) for own in loaded]
    return [error for agreement in agreements for error in (agreement.logits, *agreement.states.values()) if error is not None]


def _first_configuration_only() -> None:
    """The interpreter has no clock to tune by."""
    from triton.runtime.autotuner import Autotuner

    run = Autotuner.run

    def run_first(self: Any, *args: Any, **how: Any) -> Any:
        self.configs = self.configs[:1]
        return run(self, *args, **how)

    Autotuner.run = run_first


def _gates_in_torch() -> None:
    """LightNet's keys and decays, of which the interpreter cannot run the scan: z_t = log sum_{s <= t} e^{x_s}."""
    import torch
    from fla.ops.lightnet import chunk, fused_recurrent

    def gate(x: Any, initial_state: Any = None, **_: Any) -> Any:
        before = torch.full_like(x[:, :1], -torch.inf) if initial_state is None else initial_state
        z = torch.cat([before, x], dim=1).float().logcumsumexp(1)
        decay = (z[:, :-1] - z[:, 1:]).where(z[:, :-1] > -torch.inf, 0.0)
        return (x - z[:, 1:]).exp(), decay, z[:, -1:]

    chunk.fused_additive_gate = fused_recurrent.fused_additive_gate = gate


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    _first_configuration_only()
    _gates_in_torch()
    made = Path(sys.argv[1])
    for name in OF_SOFTMAX:
        _write_logits(name, made)
    for name in LAYERS:
        _write_layer(name, made)
    measured = {name: _write(name, made) for name in MODELS}
    (made / "agreement.json").write_text(json.dumps(measured))
