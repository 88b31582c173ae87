"""Changes that stay in a model: directions ablated while it trains, biases trained while it stays, weights without a subspace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor
from torch.nn.functional import normalize

from statescope import Attention, DeltaNet, Direction, GatedDeltaNet, Mamba, Model, ModelConfig, Subspace, Training, train
from statescope.directions import BiasSteering, PartialLeastSquares, SteeringVectors, project_module, project_weights
from statescope.probe.runs.training import task_loss
from statescope.probe.tasks.base import Batch, Task, generator_for
from statescope.tasks import Parity

MLP, MIXED, POST = "blocks.0.hook_mlp_out", "blocks.1.hook_attn_out", "blocks.0.hook_resid_post"
TOKENS = torch.randint(0, 5, (6, 7), generator=torch.Generator().manual_seed(0))


def small(mixer: object = None, seed: int = 2, vocabulary: int = 5) -> Model:
    config = ModelConfig(vocabulary=vocabulary, width=12, layers=2, mixer=mixer or DeltaNet(heads=2), seed=seed)
    return Model(config).double().eval()


def plane(hook: str, seed: int = 0, metric: Tensor | None = None) -> Subspace:
    drawn = torch.randn(12, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Subspace(torch.linalg.qr(drawn)[0], hook, "plane").under(metric)


@pytest.mark.parametrize("mixer", [DeltaNet(heads=2), GatedDeltaNet(heads=2), Mamba(), Attention(heads=2)], ids=lambda m: m.kind)
def test_projected_weights_do_what_ablation_hooks_do(mixer: object) -> None:
    model = small(mixer)
    root = torch.randn(12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    subspaces = [plane(MLP), plane(MIXED, 1, root @ root.T + torch.eye(12, dtype=torch.float64))]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    edited = project_weights(model, subspaces)
    with torch.no_grad():
        by_hooks = model.run_with_hooks(TOKENS, fwd_hooks=[subspace.ablate() for subspace in subspaces])
        torch.testing.assert_close(edited(TOKENS), by_hooks, rtol=1e-9, atol=1e-11)
        assert float((model(TOKENS) - by_hooks).abs().max()) > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    weight, basis = edited.writer(MLP).weight.detach(), subspaces[0].basis
    assert float((basis.T @ weight).abs().max()) < 1e-12  # P W' = 0
    change = weight - model.writer(MLP).weight
    assert int(torch.linalg.matrix_rank(change, atol=1e-10)) == 2
    assert float((project_weights(edited, subspaces).writer(MLP).weight.detach() - weight).abs().max()) < 1e-12  # twice is once
    wrong = model.writer(MLP).weight.detach().clone()
    wrong -= wrong @ torch.nn.functional.pad(basis @ basis.T, (0, wrong.shape[1] - 12, 0, wrong.shape[1] - 12))  # what it reads
    assert float((basis.T @ wrong).abs().max()) > 1e-2


def test_a_projection_takes_out_the_signal_that_a_layer_writes_and_its_bias() -> None:
    """What a layer writes goes with a number along a planted direction; the projection off it leaves no covariance."""
    linear = torch.nn.Linear(20, 12).double()
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(300, 20, generator=generator, dtype=torch.float64)
    signal = keys[:, 3] - 2 * keys[:, 4]
    found = PartialLeastSquares(rank=1).fit(linear(keys).detach(), signal, hook=MLP, name="signal")
    project_module(linear, found)
    after = linear(keys).detach()
    assert float(((after - after.mean(0)).T @ (signal - signal.mean())).norm()) / 300 < 1e-10
    assert float((after @ found.basis).abs().max()) < 1e-12  # the bias too
    with pytest.raises(ValueError, match="none of what a real matrix"):
        project_module(torch.nn.Linear(3, 4), found)


def test_a_projection_leads_back_to_the_origin_as_ablation_does() -> None:
    linear = torch.nn.Linear(20, 12).double()
    x = torch.randn(9, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    root = torch.randn(12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    counted = plane(MLP, 1, root @ root.T + torch.eye(12, dtype=torch.float64)).counted_from(root[0])
    by_hook = counted.remove(linear(x).detach())
    project_module(linear, counted)
    torch.testing.assert_close(linear(x).detach(), by_hook, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match=r"counted_from\(None\)"):
        project_module(torch.nn.Linear(20, 12, bias=False), counted)


def test_a_hook_that_no_matrix_writes_is_refused() -> None:
    model = small()
    for hook, said in ((POST, "no single matrix"), ("hook_embed", "no single matrix"), ("blocks.9.hook_mlp_out", "not known")):
        with pytest.raises(ValueError, match=said):
            project_weights(model, [plane(hook)])
    assert model.writer("blocks.1.hook_attn_out") is model.mixer(1).project_out


@dataclass(frozen=True)
class Shortcut(Task, kind="shortcut_of_this_test"):
    """The answer at the end is a bit. Earlier tokens hold it, some turned; so does the last, but not in the test split."""

    @property
    def vocabulary(self) -> int:
        return 4

    def batch(self, size: int, length: int, split: str, generator: Generator, *, labels: bool = False) -> Batch:
        bit = torch.randint(0, 2, (size,), generator=generator)
        tokens = bit[:, None] ^ (torch.rand(size, length, generator=generator) < 0.15).long()
        tokens[:, -1] = 2 + (bit if split == "train" else 1 - bit)
        targets = torch.full_like(tokens, -100)
        targets[:, -1] = bit
        return Batch(tokens, targets, {"bit": bit[:, None].expand(tokens.shape)})


TRAINING = Training(steps=60, batch=32, length=4, learning_rate=1e-2, warm_up=5, weight_decay=0.0)


def right(model: Model, split: str, hooks: list[object]) -> float:
    batch = Shortcut().batch(200, 4, split, generator_for(9, 9))
    with torch.no_grad():
        answers = model.run_with_hooks(batch.tokens, fwd_hooks=hooks)[:, -1].argmax(-1)
    return float((answers == batch.targets[:, -1]).double().mean())


def test_ablating_the_shortcut_while_training_keeps_a_model_off_it() -> None:
    embedded = small(seed=4, vocabulary=4).embed.weight.detach()
    spurious = Direction(normalize(embedded[3] - embedded[2], dim=0), "hook_embed", "last bit")
    found = {}
    for name, hooks in (("nothing", []), ("it", [spurious.ablate()]), ("random", [_random(spurious).ablate()])):
        model = small(seed=4, vocabulary=4)
        embedding = model.embed.weight.clone()
        behind = [value for part, value in model.named_parameters() if part != "embed.weight"]
        train(model, Shortcut(), TRAINING, seed=1, hooks=hooks, parameters=behind)
        assert torch.equal(model.embed.weight, embedding)
        found[name] = [right(model, split, hooks) for split in ("train", "test")]
    assert found["nothing"][0] > 0.95 and found["random"][0] > 0.95
    assert found["nothing"][1] < 0.2 and found["random"][1] < 0.2
    assert min(found["it"]) > 0.8, found


def _random(like: Direction) -> Direction:
    return Direction.random(like, torch.Generator().manual_seed(0))


def test_no_gradient_reaches_what_is_before_the_hook_along_the_direction() -> None:
    model, batch = small(vocabulary=4), Shortcut().batch(8, 4, "train", generator_for(0, 0))
    direction = Direction(normalize(torch.arange(1.0, 13).double(), dim=0), "hook_embed", "c")
    model.zero_grad()
    with model.hooks(fwd_hooks=[direction.ablate()]):
        task_loss(model(batch.tokens), batch).backward()
    gradient = model.embed.weight.grad
    assert gradient is not None
    assert float((gradient @ direction.vector).abs().max()) < 1e-14 < 1e-4 < float(gradient.abs().max())
    assert not model.hook_dict["hook_embed"].fwd_hooks


def test_biases_learn_what_the_model_was_not_trained_for_and_leave_every_weight(tmp_path: Path) -> None:
    task = Shortcut()
    model = small(seed=4, vocabulary=4)
    train(model, task, TRAINING, seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    @dataclass(frozen=True)
    class Turned(Shortcut):  # a task without a kind goes by its name
        def batch(self, size: int, length: int, split: str, generator: Generator, *, labels: bool = False) -> Batch:
            batch = super().batch(size, length, split, generator)
            return Batch(batch.tokens, torch.where(batch.targets < 0, batch.targets, torch.ones_like(batch.targets)))

    turned = Turned().batch(200, 4, "train", generator_for(5, 5))

    def loss(vectors: SteeringVectors | None, strength: float = 1.0) -> float:
        hooks = [] if vectors is None else vectors.hooks(strength)
        with torch.no_grad():
            return float(task_loss(model.run_with_hooks(turned.tokens, fwd_hooks=hooks), turned))

    found = BiasSteering(training=replace(TRAINING, learning_rate=0.2)).fit(model, Turned(), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad and value.grad is not None for value in model.parameters())  # as training had left them
    assert found.parameters == 2 * 12 and list(found.vectors) == [POST, "blocks.1.hook_resid_post"]
    plain, random = loss(None), [loss(found.random(torch.Generator().manual_seed(seed))) for seed in range(5)]
    assert loss(found) < 0.1 * min(plain, *random) and loss(found, 0.0) == plain
    assert loss(found, 0.5) > loss(found)
    direction = found.direction(POST)
    assert direction.scale == pytest.approx(float(found.vectors[POST].norm()))
    by_directions = [found.direction(hook).steer(1.0) for hook in found.vectors]
    steered = model.run_with_hooks(turned.tokens, fwd_hooks=by_directions)
    torch.testing.assert_close(steered, model.run_with_hooks(turned.tokens, fwd_hooks=found.hooks()))
    nowhere = torch.zeros(turned.tokens.shape, dtype=torch.bool)
    with torch.no_grad():
        same = model.run_with_hooks(turned.tokens, fwd_hooks=found.hooks(positions=nowhere))
        torch.testing.assert_close(same, model(turned.tokens))
    again = SteeringVectors.load(found.save(tmp_path / "v.1"))
    assert again.about == found.about and all(torch.equal(again.vectors[hook], found.vectors[hook]) for hook in found.vectors)
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad\.safetensors holds no steering vectors"):
        SteeringVectors.load(tmp_path / "bad.safetensors")
    for value in (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), torch.tensor([1.0, torch.nan])):
        save_file({POST: value}, tmp_path / "bad.safetensors", {"steering_vectors": "{}"})
        with pytest.raises(ValueError, match=r"bad\.safetensors holds no steering vectors: what is added at"):
            SteeringVectors.load(tmp_path / "bad.safetensors")


def test_biases_where_there_is_no_vector_a_position_are_refused() -> None:
    model = small(vocabulary=2)
    with pytest.raises(ValueError, match="has not one vector a position"):
        BiasSteering(hooks=("blocks.0.attn.hook_k",), training=Training(steps=1, length=4)).fit(model, Parity())
    with pytest.raises(ValueError, match="length 0"):
        SteeringVectors({POST: torch.zeros(3)}).direction(POST)
    with pytest.raises(ValueError, match="checkpoints keep all"):
        train(model, Parity(), Training(steps=1), checkpoints=object(), parameters=[])
