"""Hooks on any module: what they show is what the module computes, none is silent, and the module stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from every_analysis import shown
from torch import Tensor, nn
from torch_modules import EXAMPLE, TOKENS, Classifier, H, V, looped

from statescope import Edit, ProbeSweep, capture, empirical_ntk, hooked
from statescope.geometry import compare_representations, state_geometry, state_trajectory
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders.modules.hooked_module import NotHookableError


class Twice(nn.Module):
    """A block that runs twice, activations that are overwritten, and a tensor with neither batch nor position."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.act = nn.Embedding(V, 8), nn.Linear(8, 8), nn.ReLU(inplace=True)
        self.flat = nn.Linear(8, V)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.act(self.block(self.block(self.embed(tokens))))
        return self.flat(x.flatten(0, 1)).view(*tokens.shape, V)


def test_a_module_that_runs_twice_has_a_hook_a_call() -> None:
    module = Twice().double()
    model = hooked(module, EXAMPLE)
    first = module.block(module.embed(TOKENS))
    _, cache = model.run_with_cache(TOKENS, names_filter=["block.hook_out.*", "act.hook_in", "act.hook_out"])
    torch.testing.assert_close(cache["block.hook_out.0"], first)
    torch.testing.assert_close(cache["block.hook_out.1"], module.block(first))
    torch.testing.assert_close(cache["act.hook_in"], module.block(first))  # as it was before it was overwritten
    torch.testing.assert_close(cache["act.hook_out"], module.block(first).relu())
    with pytest.raises(UnknownNameError, match=r"called 2 times in a run; name the call: block.hook_out.0, block.hook_out.1"):
        model.run_with_cache(TOKENS, names_filter="block.hook_out")
    with pytest.raises(UnknownNameError, match="no axis of sequences alone"):
        model.run_with_cache(TOKENS, names_filter="flat.hook_in")
    changed = model.run_with_hooks(TOKENS, fwd_hooks=[("act.hook_in", lambda value, hook: value + 1)])
    torch.testing.assert_close(changed, module.flat((module.block(first) + 1).relu()))
    gradient = model.run_with_cache(TOKENS, names_filter="block.hook_out.0", incl_bwd=True, return_type="loss")[1]
    leaf = first.detach().requires_grad_()
    logits = module.flat(module.block(leaf).relu())
    nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    torch.testing.assert_close(gradient["block.hook_out.0_grad"], leaf.grad)


class Sometimes(nn.Module):
    """A branch that only long sequences take."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.usual, self.long = nn.Embedding(V, 8), nn.Linear(8, V), nn.Linear(8, V)

    def forward(self, tokens: Tensor) -> Tensor:
        head = self.long if tokens.shape[1] > 7 else self.usual
        out: Tensor = head(self.embed(tokens))
        return out


def test_a_hook_that_did_not_fire_raises() -> None:
    model = hooked(Sometimes(), EXAMPLE)
    model.run_with_cache(EXAMPLE, names_filter="usual.hook_out")
    with pytest.raises(RuntimeError, match="usual was called 0 times in this run"):
        model.run_with_cache(TOKENS, names_filter="usual.hook_out")
    with pytest.raises(UnknownNameError):  # the example does not show it
        model.run_with_cache(TOKENS, names_filter="long.hook_out")
    with pytest.raises(ValueError, match="give taps"):
        hooked(Classifier("gru"), EXAMPLE).run_with_cache(TOKENS, names_filter="*.hook_state")
    with pytest.raises(ValueError, match=r"returned \(3, 9, 7\) for usual.hook_out"):
        hooked(Sometimes(), EXAMPLE).run_with_hooks(
            TOKENS[:, :7].repeat(1, 1)[:, :7], fwd_hooks=[("usual.hook_out", lambda value, hook: value.new_zeros(3, 9, 7))]
        )


def test_the_module_stays_as_it_was() -> None:
    module = Classifier("lstm", num_layers=2, dropout=0.5)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    norm = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(5))
    hooked(norm, torch.randn(4, 5, 3), run=lambda own, x: own(x))
    assert norm[1].num_batches_tracked == 0 and norm.training
    model = hooked(module, EXAMPLE)
    model.eval()
    plain, calls = module(TOKENS), []
    with model.hooks(fwd_hooks=[("rnn.hook_out", lambda value, hook: calls.append(1))]):
        module(TOKENS)
        assert not calls  # the module's own calls are its own
        model(TOKENS)
    assert calls and "forward" not in vars(module.rnn) and not module.rnn._forward_hooks
    assert torch.equal(model(TOKENS), plain)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("make", "example", "reason"),
    [
        (lambda: torch.jit.trace(nn.Linear(3, 3), torch.zeros(2, 3)), torch.zeros(2, 3), "compiled"),
        (lambda: nn.LSTM(8, H), None, "give an example"),
        (lambda: Classifier("lstm"), torch.zeros(2, 5, 8), "does not run on the example"),
        (lambda: nn.Linear(3, 3), torch.zeros(3), "give sequences"),
        (lambda: nn.GRU(3, 3, batch_first=True), torch.zeros(2, 1, 3), "two positions at least"),
    ],
)
def test_what_cannot_be_hooked_says_why(make: Any, example: Tensor | None, reason: str) -> None:
    with pytest.raises(NotHookableError, match=reason):
        hooked(make(), example)


def test_captures_probes_and_analyses_run_on_it() -> None:
    """A label that the state holds is read from it, and from an untrained read-out of nothing it is not."""
    module = Classifier("gru", num_layers=2).double()
    model = hooked(module, EXAMPLE)
    tokens = torch.randint(0, V, (60, 7), generator=torch.Generator().manual_seed(1))
    labels = {"last token": tokens % 3}
    kept = capture(model, tokens, ["rnn.hook_out", "*.hook_state"], positions=[2, 5], labels=labels)
    assert kept.hooks == ["rnn.hook_out", "blocks.0.attn.hook_state", "blocks.1.attn.hook_state"]
    assert kept.activation("blocks.1.attn.hook_state").shape == (60, 2, 1, 1, H)
    torch.testing.assert_close(kept.activation("rnn.hook_out"), kept.activation("blocks.1.attn.hook_state")[:, :, 0, 0])
    scores = ProbeSweep(permutations=0, resamples=20).run(*kept.split(), hooks=["rnn.hook_out"]).table
    assert float(scores["accuracy"].iloc[0]) > float(scores["majority"].iloc[0]) + 0.1
    states = shown(model, TOKENS, "hook_state", taps="all")
    known = {"texts": list("abcdefghi"), "labels": TOKENS[0] % 2, "label": "odd"}
    geometry, walk = state_geometry(model, TOKENS), state_trajectory(model, TOKENS[0], **known)
    norms = states[1][:, :, 0].flatten(2).norm(dim=-1)
    own = geometry.select(layer=1).table.sort_values(["sequence", "position"])
    torch.testing.assert_close(torch.tensor(own["norm"].to_numpy()), norms.flatten())
    assert set(walk.table["layer"]) == {0, 1}
    same = compare_representations(
        {"rnn": kept.features("rnn.hook_out")},
        {"state": kept.features("blocks.1.attn.hook_state")},
        torch.Generator().manual_seed(0),
        shuffles=5,
    )
    assert float(same.table["similarity"].iloc[0]) == pytest.approx(1.0)


def test_the_tangent_kernel_of_a_hooked_module_is_that_of_its_gradients() -> None:
    module = looped("own")
    model, tokens = hooked(module, EXAMPLE), TOKENS[:2, :4]
    kernel = empirical_ntk(model, tokens, read=lambda out: out[:, -1, :2])
    rows = []
    for sample in tokens:
        for output in module(sample[None])[0, -1, :2]:
            grads = torch.autograd.grad(output, list(module.parameters()), retain_graph=True)
            rows.append(torch.cat([grad.flatten() for grad in grads]))
    jacobian = torch.stack(rows)
    blocks = (jacobian @ jacobian.T).view(2, 2, 2, 2)
    torch.testing.assert_close(kernel, torch.einsum("aibi->ab", blocks))


def test_a_transformers_model_that_has_no_adapter_is_hooked_by_its_modules() -> None:
    """GPT-2 by module names: the blocks' outputs are its hidden states, and an ablated head is one whose rows are zero."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=V, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2)
    module = GPT2LMHeadModel(config).double().eval()
    model = hooked(module)
    theirs = module(TOKENS, output_hidden_states=True)
    names = ["transformer.h.0.hook_out", "transformer.h.1.attn.c_proj.hook_in"]
    logits, cache = model.run_with_cache(TOKENS, names_filter=names)
    torch.testing.assert_close(logits, theirs.logits)
    torch.testing.assert_close(cache["transformer.h.0.hook_out"], theirs.hidden_states[1])

    def ablate(z: Tensor, hook: Any) -> Tensor:
        return torch.cat([torch.zeros_like(z[..., :4]), z[..., 4:]], dim=-1)

    ablated = model.run_with_hooks(TOKENS, fwd_hooks=[(names[1], ablate)])
    module.transformer.h[1].attn.c_proj.weight.data[:4] = 0
    torch.testing.assert_close(ablated, module(TOKENS).logits)
    assert model.layers == 0 and model.to("cpu") is model


class Patches(nn.Module):
    """A recurrence over the patches of images of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.rnn, self.head = nn.Conv2d(3, 8, 4, 4), nn.LSTM(8, H, batch_first=True), nn.Linear(4 * H, 5)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.rnn(self.patch(images).flatten(2).mT)[0].flatten(1))
        return out


def test_a_model_of_images_has_the_positions_of_its_recurrence() -> None:
    module, images = Patches().double(), torch.randn(3, 3, 8, 8).double()
    model = hooked(module, images[:2])
    out, cache = model.run_with_cache(images, taps=[0, 3], names_filter=["*.hook_state", "patch.hook_out"])
    read = module.rnn(module.patch(images).flatten(2).mT)[0]
    torch.testing.assert_close(cache["state", 0][:, :, 0, 0], read[:, [0, 3]])
    assert cache["patch.hook_out"].shape == (3, 8, 2, 2) and out.shape == (3, 5)
    edited = model.run_with_edits(images, {"blocks.0.attn.hook_state": [Edit("last", "scale", torch.tensor(0.0))]})
    torch.testing.assert_close(edited, out)  # nothing follows the last patch
    with pytest.raises(IndexError):
        model.run_with_cache(images, taps=[4], names_filter="*.hook_state")


def test_a_copy_has_hooks_of_its_own() -> None:
    model = hooked(Classifier("gru").double(), EXAMPLE)
    copied = copy.deepcopy(model)
    copied.module.rnn.weight_hh_l0.data.zero_()
    _, own = model.run_with_cache(TOKENS, taps="last", names_filter="*.hook_state")
    _, theirs = copied.run_with_cache(TOKENS, taps="last", names_filter="*.hook_state")
    torch.testing.assert_close(theirs["state", 0][:, 0, 0, 0], copied.module.rnn(copied.module.embed(TOKENS))[1][0])
    assert not torch.allclose(own["state", 0], theirs["state", 0])


def test_a_child_called_blocks_keeps_its_name_apart_from_layers() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.GRU(8, 8, batch_first=True) for _ in range(2)])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)[0]
            return x

    model = hooked(Named(), torch.zeros(2, 4, 8))
    assert {"module.blocks.1.hook_out", "blocks.1.attn.hook_state"} <= set(model.hook_names)
