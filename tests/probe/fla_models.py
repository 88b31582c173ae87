"""Tiny models of flash-linear-attention, run by the library itself on Triton's interpreter.

`python fla_models.py FOLDER` (with TRITON_INTERPRET=1) writes one folder a model, as the library saves it, and beside it the
library's own logits, and the state of its first layer after each of the first tokens; and, in
parity.json, how far our run of each is from the library's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

T, STEPS, V, W = 17, 6, 31, 32
HEADS: dict[str, Any] = {"num_heads": 2}
SIZED: dict[str, Any] = HEADS | {"head_dim": 8, "expand_v": 2}
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
    "Mamba2": ({"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8}, True),
}


def write_models(folder: Path) -> None:
    """In a process of its own: the interpreter is chosen when the library is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _write(name: str, folder: Path) -> list[float]:
    import fla.models
    import torch
    from safetensors.torch import save_file

    from statescope import load
    from statescope.probe.loaders.agreement import check_parity

    settings, value_first = MODELS[name]
    torch.manual_seed(0)
    sizes = {"hidden_size": W, "num_hidden_layers": 2, "vocab_size": V, "pad_token_id": 0}
    config = getattr(fla.models, f"{name}Config")(**(sizes | ({} if name == "Mamba2" else {"intermediate_size": 48}) | settings))
    model = getattr(fla.models, f"{name}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(std=0.6 * parameter.shape[-1] ** -0.5)
    tokens = torch.randint(3, V, (2, T))
    with torch.no_grad():
        logits = model(tokens).logits
        cache, states = None, []
        for t in range(STEPS):
            cache = model(tokens[:, t : t + 1], past_key_values=cache, use_cache=True).past_key_values
            state = cache[0]["recurrent_state"]
            state = state[-1] if isinstance(state, list | tuple) else state
            states.append((state.mT if value_first else state).clone())
    model.save_pretrained(folder / name)
    truth = {"tokens": tokens, "logits": logits, "states": torch.stack(states, 1)}
    save_file({key: x.contiguous() for key, x in truth.items()}, folder / f"{name}.safetensors")
    parities = [check_parity(loaded, tokens) for loaded in (load(folder / name), load(model))]
    return [error for parity in parities for error in (parity.logits, *parity.states.values()) if error is not None]


def _first_configuration_only() -> None:
    """The interpreter has no clock to tune by."""
    from triton.runtime.autotuner import Autotuner

    run = Autotuner.run

    def run_first(self: Any, *args: Any, **how: Any) -> Any:
        self.configs = self.configs[:1]
        return run(self, *args, **how)

    Autotuner.run = run_first


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    _first_configuration_only()
    made = Path(sys.argv[1])
    measured = {name: _write(name, made) for name in MODELS}
    (made / "parity.json").write_text(json.dumps(measured))
