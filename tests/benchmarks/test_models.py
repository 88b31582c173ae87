"""Speed of what looks inside, as ratios against a named peer in one process. `make bench` prints the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from timing import compare

from statescope import Attention, Edit, GatedDeltaNet, Model, ModelConfig, Transition, lyapunov_exponents, patch_states
from statescope.analyses.models import transitions_of
from statescope.analyses.spectra.transition_measures import measures_of
from statescope.probe.interventions.patching import last_logit_difference
from statescope.probe.mixers import MixerConfig

LOAD = """
import sys, torch, transformers
from transformers import MambaForCausalLM
from statescope import Model, ModelConfig, load
Model(ModelConfig(8, 16, 1))(torch.zeros(1, 3, dtype=torch.long))
resident = lambda: next(int(line.split()[1]) / 2**10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = resident()
model = load(sys.argv[1])
sum(float(parameter.sum()) for parameter in model.parameters())
print(resident() - before)
"""

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


@pytest.mark.parametrize("library", ["statescope", "transformers"])
def test_loading_holds_one_copy_of_the_checkpoint(library: str, tmp_path: Path) -> None:
    """The most memory that a fresh process had resident, less what it had before it loaded."""
    if library == "statescope":
        Model(ModelConfig(4000, 2048, 2, GatedDeltaNet(heads=16))).save(tmp_path)
    else:
        settings = {"vocab_size": 4000, "hidden_size": 2048, "num_hidden_layers": 4, "state_size": 16}
        transformers.MambaForCausalLM(transformers.MambaConfig(**settings)).save_pretrained(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) / 2**20
    done = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, check=True)
    grown = float(done.stdout) / size
    print(f"\nloading {size:.0f} MiB of {library}: peak {grown:.3f} times its size (at most 1.1)")
    assert 0.5 < grown <= 1.1


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(("keys", "wanted"), [(1, 100), (2, 20), (4, 20)])
@pytest.mark.parametrize("by_channel", [False, True], ids=["scalar", "equal"])
def test_eigenvalues_of_transitions_against_the_dense_solver(size: int, keys: int, wanted: int, by_channel: bool) -> None:
    """A decay that is one number, and one that is the same number in every channel."""
    count = 512 if size == 64 else 128
    unit = torch.nn.functional.normalize(torch.randn(count, keys, size, dtype=torch.float64), dim=-1)
    scalar = -torch.rand(count, dtype=torch.float64)
    decay = scalar[:, None].expand(count, size) if by_channel else scalar
    transition = Transition.householders(unit, 2 * torch.rand(count, keys, dtype=torch.float64), decay)
    dense = transition.dense()
    found, exact = transition.eigenvalues(), torch.linalg.eigvals(dense)
    gaps = (found[..., :, None] - exact[..., None, :]).abs()
    assert max(gaps.amin(-1).max(), gaps.amin(-2).max()) < 1e-9
    ratio = compare(lambda: torch.linalg.eigvals(dense), transition.eigenvalues, pairs=5)
    what = f"eigenvalues of {count} transitions, K={size}, keys {keys}, {'equal' if by_channel else 'scalar'} decay, float64"
    report(what, "torch.linalg.eigvals", "Transition", ratio, f"at least {wanted}")
    assert ratio.ratio >= wanted


def test_spectra_of_every_token_against_the_forward_pass() -> None:
    """4096 tokens of 4 layers of 4 heads of 64 channels: what the analyses do themselves, beside the pass that they ask for."""
    mixer = GatedDeltaNet(heads=4, key_size=64, value_size=64)
    model = Model(ModelConfig(vocabulary=64, width=256, layers=4, mixer=mixer)).eval()
    tokens = torch.randint(0, 64, (1, 4096))
    shown = [transition for _, transition in transitions_of(model, tokens)]
    along = [transition.each(lambda part: part.movedim(1, 2)) for transition in shown]
    for own in along:
        total = lyapunov_exponents(own).sum(-1)
        torch.testing.assert_close(total, own.log_abs_det().mean(-1), rtol=1e-9, atol=1e-9)

    def forward() -> None:
        with torch.no_grad():
            model(tokens)

    for name, call, most in (
        ("measures of every token", lambda: [measures_of(own) for own in shown], 0.5),
        ("Lyapunov exponents", lambda: [lyapunov_exponents(own) for own in along], 5.0),
    ):
        ratio = compare(call, forward, pairs=3, warm_up=1)
        report(f"{name}, Gated DeltaNet, 4096 tokens, 4 layers, 4 heads, K=64", name, "forward", ratio, f"at most {most:g}")
        assert ratio.ratio <= most


def test_a_training_step_against_softmax_attention() -> None:
    """2 layers of width 128, 8 x 512 tokens: Gated DeltaNet beside softmax attention through torch's SDPA."""
    tokens = torch.randint(0, 100, (8, 512))

    def step(mixer: MixerConfig) -> Callable[[], object]:
        model = Model(ModelConfig(vocabulary=100, width=128, layers=2, mixer=mixer))
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)

        def run() -> None:
            optimizer.zero_grad()
            model(tokens, return_type="loss").backward()
            optimizer.step()

        return run

    ratio = compare(step(GatedDeltaNet(heads=4)), step(Attention(heads=4)), pairs=7)
    print("\ntraining step, 2 layers, width 128, 8 x 512")
    print(f"  Gated DeltaNet: {ratio.first:.0f} ms   softmax: {ratio.second:.0f} ms   ratio {ratio.ratio:.3f} (at most 1.2)")
    assert ratio.ratio <= 1.2


@pytest.mark.parametrize(("length", "step"), [(128, 1), (512, 8)], ids=["each of 128", "every 8th of 512"])
def test_a_patching_sweep_against_its_forwards(length: int, step: int) -> None:
    """4 layers x P positions x 1 head: the sweep beside as many whole forwards with an edit, of which 16 are timed."""
    mixer = GatedDeltaNet(heads=1, key_size=64, value_size=64)
    model = Model(ModelConfig(vocabulary=100, width=128, layers=4, mixer=mixer)).eval()
    target, source = torch.randint(0, 100, (2, 1, length)).unbind(0)
    positions = list(range(0, length - 1, step))
    metric = last_logit_difference(1, 2)
    names = [f"blocks.{layer}.attn.hook_state" for layer in range(4)]
    _, cache = model.run_with_cache(source, names_filter=names, taps=positions)
    timed = positions[:: len(positions) // 4][:4]

    @torch.no_grad()
    def forwards() -> torch.Tensor:
        found = [
            metric(model.run_with_edits(target, {name: [Edit(at, "set", cache[name][:, positions.index(at)])]}))
            for name in names
            for at in timed
        ]
        return torch.cat(found).view(4, 4)

    def sweep() -> torch.Tensor:
        return patch_states(model, target, source, metric, positions, reads=1).effect[..., 0]

    with torch.no_grad():
        plain = metric(model(target))
    at_timed = sweep()[:, [positions.index(at) for at in timed]]
    torch.testing.assert_close(at_timed, forwards() - plain, rtol=1e-3, atol=1e-4)
    ratio = compare(sweep, forwards, pairs=3, warm_up=1)
    share = ratio.ratio * len(timed) / len(positions)
    print(f"\nstate patching, 4 layers x {len(positions)} positions, {length} tokens")
    print(f"  sweep: {ratio.first:.0f} ms   16 forwards: {ratio.second:.0f} ms   of L x P forwards {share:.3f} (at most 0.25)")
    assert share <= (0.25 if step == 1 else 0.32)  # a sweep of few positions shares less
