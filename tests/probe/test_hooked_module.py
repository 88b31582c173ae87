"""Hooks on any module: what they show is what the module computes, edits act as a hand-written loop does, and none is silent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from every_analysis import shown
from foreign_models import FOREIGN
from torch import Tensor, nn

from statescope import Edit, ProbeSweep, capture, empirical_ntk, hooked, load
from statescope.geometry import compare_representations, state_geometry, state_trajectory
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders.agreement import torch_paths
from statescope.probe.loaders.modules.hooked_module import NotHookableError

V, H = 11, 6
TOKENS = torch.randint(0, V, (3, 9), generator=torch.Generator().manual_seed(0))
EXAMPLE = TOKENS[:2, :5]
KINDS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Classifier(nn.Module):
    """An embedding, a torch recurrence either way round, and a read-out."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        self.batch_first = settings.setdefault("batch_first", True)
        self.embed = nn.Embedding(V, 8)
        self.rnn = KINDS[kind](8, H, **settings)
        self.head = nn.Linear(H * (1 + self.rnn.bidirectional), V)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        read = self.rnn(x)[0] if self.batch_first else self.rnn(x.transpose(0, 1))[0].transpose(0, 1)
        out: Tensor = self.head(read)
        return out


class Looped(nn.Module):
    """A loop over positions of a cell, and of a read-out within it."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(V, 8), cell, nn.Linear(H, V)

    def forward(self, tokens: Tensor) -> Tensor:
        state: Any = self.head.weight.new_zeros(len(tokens), H)
        state = (state, state) if isinstance(self.cell, nn.LSTMCell) else state
        out = []
        for x in self.embed(tokens).unbind(1):
            state = self.cell(x, state)
            out.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack(out, dim=1)


class OwnCell(nn.Module):
    """h = tanh(W x + R h)."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.recurrent = nn.Linear(8, H), nn.Linear(H, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.inputs(x) + self.recurrent(h))


def looped(name: str) -> Looped:
    return Looped({"own": OwnCell, "lstm": lambda: nn.LSTMCell(8, H), "gru": lambda: nn.GRUCell(8, H)}[name]()).double()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", list(KINDS))
def test_states_of_torch_recurrences_are_theirs(kind: str, batch_first: bool) -> None:
    """Hidden parts against the module's output, and the last state, with its cell part, against what the module returns."""
    module = Classifier(kind, num_layers=2, bidirectional=True, batch_first=batch_first).double()
    plain = module(TOKENS)
    x = module.embed(TOKENS)
    read, final = module.rnn(x if batch_first else x.transpose(0, 1))
    read = read if batch_first else read.transpose(0, 1)
    model = hooked(module, EXAMPLE)
    assert model.recurrences == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    out, cache = model.run_with_cache(TOKENS, taps="all")
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-13)
    torch.testing.assert_close(cache["state", 2][:, :, 0, 0], read[..., :H], rtol=0, atol=1e-13)
    torch.testing.assert_close(cache["state", 3][:, :, 0, 0], read[..., H:], rtol=0, atol=1e-13)
    for part, own in enumerate(final if kind == "lstm" else (final,)):
        for layer, at in enumerate((-1, 0, -1, 0)):  # the reverse direction ends at the first token
            torch.testing.assert_close(cache["state", layer][:, at, 0, part], own[layer], rtol=0, atol=1e-13)
    assert cache["rnn.hook_out"].shape == (3, 9, 2 * H)  # sequences first, whichever way round the module keeps them
    torch.testing.assert_close(cache["rnn.hook_out" if batch_first else "head.hook_in"], read, rtol=0, atol=1e-13)


def test_an_edit_of_a_torch_recurrence_goes_on_from_the_changed_state() -> None:
    """Against the module run by hand in two pieces, the second from the changed state; a read-out of the first alone differs."""
    module = Classifier("lstm").double()
    model, change = hooked(module, EXAMPLE), torch.randn(H).double()
    edited = model.run_with_edits(TOKENS, {"blocks.0.attn.hook_state": [Edit(4, "add", change)]})
    x = module.embed(TOKENS)
    first, (h, c) = module.rnn(x[:, :5])
    second, _ = module.rnn(x[:, 5:], (h + change, c + change))
    torch.testing.assert_close(edited, module.head(torch.cat([first, second], dim=1)), rtol=0, atol=1e-13)
    wrong, _ = module.rnn(x[:, 5:], (h + change, c))  # the part h alone
    assert (edited[:, 5:] - module.head(wrong)).abs().max() > 1e-3


def test_an_edit_in_the_reverse_direction_reaches_earlier_positions() -> None:
    module = Classifier("gru", bidirectional=True).double()
    model = hooked(module, EXAMPLE)
    edited = model.run_with_edits(TOKENS, {"blocks.1.attn.hook_state": [Edit(4, "scale", torch.tensor(0.0))]})
    moved = (edited - module(TOKENS)).abs().amax((0, 2))
    assert bool((moved[:4] > 1e-4).all()) and bool((moved[4:] < 1e-13).all())
    one = nn.GRU(8, H, batch_first=True).double()  # the same direction as a forward layer over the turned sequence
    one.load_state_dict({name: getattr(module.rnn, f"{name}_reverse") for name in one.state_dict()})
    turned = module.embed(TOKENS).flip(1)
    expected = torch.cat([one(turned[:, :5])[0], one(turned[:, 5:])[0]], dim=1).flip(1)
    _, cache = model.run_with_cache(
        TOKENS, names_filter="rnn.hook_out", edits={"blocks.1.attn.hook_state": [Edit(4, "scale", torch.tensor(0.0))]}
    )
    torch.testing.assert_close(cache["rnn.hook_out"][..., H:], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["own", "lstm", "gru"])
def test_a_cell_in_a_loop_is_a_layer_with_states_and_edits(name: str) -> None:
    module = looped(name)
    model = hooked(module, EXAMPLE)
    assert model.recurrences == ["cell"] and model.layers == 1
    state: Any = torch.zeros(3, H).double()
    state, held, changed = (state, state) if name == "lstm" else state, [], []
    other = state
    for position, x in enumerate(module.embed(TOKENS).unbind(1)):
        state, other = module.cell(x, state), module.cell(x, other)
        if position == 3:
            other = tuple(0.5 * part for part in other) if name == "lstm" else 0.5 * other
        held.append(torch.stack(list(state), dim=1) if name == "lstm" else state[:, None])
        changed.append(module.head(other[0] if name == "lstm" else other))
    out, cache = model.run_with_cache(TOKENS, taps=[2, 7], positions=[1, 8])
    torch.testing.assert_close(cache["state", 0][:, :, 0], torch.stack([held[2], held[7]], dim=1))
    torch.testing.assert_close(cache["cell.hook_out"][:, 1], held[8][:, 0])  # calls side by side, as positions
    torch.testing.assert_close(cache["head.hook_out"], out[:, [1, 8]])
    edited = model.run_with_edits(TOKENS, {"blocks.0.attn.hook_state": [Edit(3, "scale", torch.tensor(0.5))]})
    torch.testing.assert_close(edited, torch.stack(changed, dim=1))
    one_tap = model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.attn.hook_state", lambda state, hook: 0.5 * state)], taps=3)
    torch.testing.assert_close(one_tap, edited)
    with pytest.raises(RuntimeError, match="does not read"):  # several taps are shown afterwards: a change would be lost
        model.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.attn.hook_state", lambda state, hook: 0.5 * state)], taps=[3, 4])
    with pytest.raises(ValueError, match="read-out edit has no meaning"):
        model.run_with_edits(TOKENS, {"blocks.0.attn.hook_state": [Edit(3, "scale", torch.tensor(0.5), verb="readout")]})


def test_a_hook_of_a_module_in_a_loop_fires_at_each_position_and_its_change_goes_on() -> None:
    module = looped("own")
    model, seen = hooked(module, EXAMPLE), []

    def lesion(value: Tensor, hook: Any) -> Tensor | None:
        seen.append((hook.ctx["position"], tuple(value.shape)))
        return 0 * value if hook.ctx["position"] == 3 else None

    out = model.run_with_hooks(TOKENS, fwd_hooks=[("cell.recurrent.hook_out", lesion)])
    assert seen == [(position, (3, 1, H)) for position in range(9)]
    h, expected = torch.zeros(3, H).double(), []
    for position, x in enumerate(module.embed(TOKENS).unbind(1)):
        h = torch.tanh(module.cell.inputs(x) + (0 if position == 3 else module.cell.recurrent(h)))
        expected.append(module.head(h))
    torch.testing.assert_close(out, torch.stack(expected, dim=1))
    with pytest.raises(ValueError, match="could not tell which"):
        model.run_with_hooks(TOKENS, bwd_hooks=[("cell.hook_out", lambda value, hook: None)])


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


class Started(nn.Module):
    """A recurrence whose first state is given by torch's name of it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(V, 8), KINDS[kind](8, H, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        first = torch.linspace(-1, 1, len(tokens) * H).view(1, len(tokens), H)
        out: Tensor = self.rnn(input=self.embed(tokens), hx=(first, -first) if isinstance(self.rnn, nn.LSTM) else first)[0]
        return out


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_first_state_that_is_given_by_name(kind: str) -> None:
    module = Started(kind)
    model = hooked(module, EXAMPLE)
    out, cache = model.run_with_cache(TOKENS, names_filter="blocks.0.attn.hook_state", taps="all")
    torch.testing.assert_close(out, module(TOKENS), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cache["blocks.0.attn.hook_state"][:, :, 0, 0], module(TOKENS), rtol=1e-5, atol=1e-6)


class Stopping(Looped):
    """A loop that ends after five tokens, whatever is behind them."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens[:, :5])


class SometimesRecurrent(nn.Module):
    """A recurrence that long sequences do without."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(V, 8), nn.GRU(8, 8, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embed(tokens)
        out: Tensor = x if tokens.shape[1] > 7 else self.rnn(x)[0]
        return out


def test_states_that_a_run_does_not_come_to_raise() -> None:
    """Neither a hook function nor an edit of a state is passed over in silence."""
    branching, stopping = hooked(SometimesRecurrent(), EXAMPLE), hooked(Stopping(nn.GRUCell(8, H)), EXAMPLE)
    for model, reason in ((branching, "rnn was not called"), (stopping, "called 5 times")):
        model.run_with_cache(EXAMPLE, names_filter="blocks.0.attn.hook_state", taps="all")
        with pytest.raises(RuntimeError, match=reason):
            model.run_with_cache(TOKENS, names_filter="blocks.0.attn.hook_state", taps=[2, 8])
        with pytest.raises(RuntimeError, match=reason):
            model.run_with_cache(TOKENS, names_filter="blocks.0.attn.hook_state", taps="last")
        with pytest.raises(RuntimeError, match=reason):
            model.run_with_edits(TOKENS, {"blocks.0.attn.hook_state": [Edit(8, "scale", torch.tensor(0.0))]})
        model(TOKENS)  # nothing is asked of the states


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


def test_states_that_are_not_reached_say_why() -> None:
    projected = hooked(nn.LSTM(8, H, batch_first=True, proj_size=3), torch.zeros(2, 4, 8))
    with pytest.raises(UnknownNameError, match="projection to 3 numbers"):
        projected.run_with_cache(torch.zeros(2, 4, 8), names_filter="hook_state", taps="last")
    assert projected.layers == 0 and "no recurrence" in repr(projected)
    wrapped = hooked(nn.Sequential(nn.RNN(8, H, nonlinearity="relu", batch_first=True)), torch.zeros(2, 4, 8))
    with pytest.raises(UnknownNameError, match="nonlinearity='relu'"):
        wrapped.run_with_cache(torch.zeros(2, 4, 8), names_filter="0.hook_state", taps="last")
    with pytest.raises(ValueError, match="no layer of this model has a state"):
        state_geometry(wrapped, torch.zeros(2, 4, 8))
    x, reasons = torch.zeros(2, 4, 8), {Packing(): "run it without packing", Strided(): "2 steps where", Again(): "2 times"}
    for unreached, reason in reasons.items():
        with pytest.raises(UnknownNameError, match=reason):
            hooked(unreached, x).run_with_cache(x, names_filter="rnn.hook_state", taps="last")


class Packing(nn.Module):
    """A recurrence over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, [x.shape[1]] * len(x), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class Strided(Packing):
    """A recurrence over every second position."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x[:, ::2])[0]


class Again(Packing):
    """A recurrence that reads the sequence twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, self.rnn(x)[1])[0]


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


class Around(nn.Module):
    """A classifier of sequences around a backbone of transformers, which is no causal language model."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(32, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.backbone(tokens).last_hidden_state.mean(1))
        return out


@pytest.mark.parametrize("name", ["mamba2", "qwen3_next"])
def test_recurrent_layers_of_transformers_inside_a_module_have_states_and_edits(name: str) -> None:
    foreign = FOREIGN[name]()
    module = Around(foreign.model if hasattr(foreign, "model") else foreign.backbone)
    tokens = torch.randint(0, 31, (2, 10))
    with torch_paths(foreign):
        plain = module(tokens)
    model = hooked(module, tokens[:, :4])
    out, cache = model.run_with_cache(tokens, taps=[3, 9], names_filter=["*.hook_state", "*.hook_transition"])
    torch.testing.assert_close(out, plain, rtol=1e-4, atol=1e-4)
    loaded = load(foreign)
    _, theirs = loaded.run_with_cache(tokens, taps=[3, 9], names_filter="*.hook_state")
    torch.testing.assert_close(cache["state", 0], theirs["state", 0])
    edited = model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [Edit(3, "scale", torch.tensor(0.0))]})
    assert float((edited - out).detach().abs().max()) > 1e-5
    assert model.recurrences[0].startswith("backbone.layers.0.")


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
