"""Recurrences in a module of one's own: states are torch's, edits act as a hand-written loop does, or an error says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fla_models import MODELS, made_model
from foreign_models import FOREIGN
from torch import Tensor, nn
from torch_modules import EXAMPLE, KINDS, TOKENS, Classifier, H, Looped, V, looped

from statescope import Edit, hooked, load
from statescope.geometry import state_geometry
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders.agreement import torch_paths
from statescope.probe.loaders.modules.tensors import tensors_in


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


class Pooled(nn.Module):
    """A regression on real numbers, by one layer of flash-linear-attention between layers of its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.enter, self.layer, self.head = nn.Linear(5, 32), layer, nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((self.enter(x) + self.layer(self.enter(x))[0]).mean(1))
        return out


@pytest.mark.filterwarnings("ignore:Triton is not supported on current platform:UserWarning")
@pytest.mark.filterwarnings("ignore:According to Bo, you are using a potentially buggy FLA implementation of RWKV:UserWarning")
@pytest.mark.filterwarnings("ignore:The correction_factor is set to 1 by default:UserWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["GatedDeltaNet", "GLA", "GSA", "HGRN", "RWKV7", "KDA", "Mamba2"])
def test_a_layer_of_flash_linear_attention_inside_a_module_has_states_and_edits(name: str) -> None:
    """Against the whole model of the library that the layer was taken from, whose states are held against the library's own."""
    foreign = made_model(name, MODELS[name][0])
    whole, tokens = load(foreign), torch.randint(3, 31, (2, 10))
    layer, given = whole.mixer(0).module, list[Any]()
    with layer.register_forward_pre_hook(lambda _, args, kwargs: given.append((args, kwargs)), with_kwargs=True):
        _, theirs = whole.run_with_cache(tokens, taps=[3, 9], names_filter="blocks.0.attn.hook_state")
    entering = next(tensors_in(list(given[0])))
    alone = hooked(layer, entering[:, :4], run=lambda module, x: module(x)[0])
    _, own = alone.run_with_cache(entering, taps=[3, 9], names_filter="blocks.0.attn.hook_state")
    torch.testing.assert_close(own["state", 0], theirs["state", 0], rtol=1e-4, atol=1e-6)
    module, x = Pooled(layer), torch.randn(2, 10, 5)
    model = hooked(module, x[:, :4])
    out, cache = model.run_with_cache(x, taps=[3, 9], names_filter=["*.hook_state", "layer.hook_out"])
    edited = model.run_with_edits(x, {"blocks.0.attn.hook_state": [Edit(3, "scale", torch.tensor(0.0))]})
    assert model.recurrences == ["layer"] and cache["layer.hook_out"].shape == (2, 10, 32)
    assert float((edited - out).detach().abs().max()) > 1e-6
    _, shorter = model.run_with_cache(x[:, :5], taps=3, names_filter="*.hook_state")
    torch.testing.assert_close(cache["state", 0][:, :1], shorter["state", 0], rtol=1e-4, atol=1e-6)
