"""From softmax attention to linear mixers, on a model trained here (P005, P017, P089).

A small softmax model learns associative recall. Each of its layers is then taken over by a linear mixer with the same
projections, trained alone to do what the layer did, and fine-tuned by changes of low rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from scipy.stats import spearmanr
from torch import Tensor

from ...probe.captures.capture import Capture
from ...probe.configuration import Count
from ...probe.estimators.probe_sweep import ProbeSweep
from ...probe.hooks.names import hook_name
from ...probe.mixers import Attention
from ...probe.models.config import ModelConfig
from ...probe.models.linearize import Target, add_low_rank, layer_attention, linearize, transfer
from ...probe.models.model import Model
from ...probe.results.result import Result
from ...probe.runs.run import Run
from ...probe.runs.study import Study
from ...probe.runs.training import Training, task_loss, train
from ...probe.statistics.scores import ProbeScores
from ...probe.tasks.base import Batch, Split, generator_for
from ...probe.tasks.recall import AssociativeRecall
from ..behaviour.results.training_curve import TrainingCurve
from .findings import Axes, Findings, curves_of, numbers_of

TARGETS: tuple[Target, ...] = ("hedgehog", "gla", "mamba")
TRANSFERRED = ("hedgehog", "mamba")  # Liger ("gla") goes from the conversion straight to fine-tuning
FIXED_MAPS: dict[Target, str] = {"hedgehog": "elu_plus_one"}  # beside which a learned feature map is judged
CONTROLLED = ("gla", "mamba")  # whose worth lies in the projections they take over
RANDOM, ADDED = "projections drawn at random", "parameters added"
CLOSED, MOVED = "share of the gap closed in all", "share of the gap closed by transfer"
AHEAD, MOVED_AHEAD = (f"{share}, less that of {RANDOM}" for share in (CLOSED, MOVED))
SEEDED = "mamba without decay and step 1, against linear attention"
REUSED = "mamba: transfer loss, random projections over the teacher's"
DIVERGENCE, ENTROPY = "divergence from the softmax map, nats", "entropy apart from the softmax map's, nats"
ORDER, RATIO = "rank correlation of q . k and weight", "elu + 1 over hedgehog"
TRANSFER = Axes(
    "loss of the mixers alone, as they learn what softmax did", "step", "cross-entropy of the maps, or relative error", y_log=True
)


@dataclass(frozen=True)
class LinearizationStudy(Study, kind="linearization"):
    """A 2-layer softmax model, linearised in three ways."""

    training: Training = field(default_factory=lambda: Training(steps=800, batch=64, length=24))
    fine_tuning: Training = field(default_factory=lambda: Training(steps=400, batch=32, length=24))
    pairs: Count = 4
    """The model is shown this many pairs of a key and a value, and has to recall the values."""
    symbols: Count = 16
    """Keys are drawn from this many symbols, and values from as many others."""
    width: Count = 64
    """The residual stream has this many channels."""
    transfer_steps: Count = 200
    """A new mixer learns for this many steps to do what the old one did."""
    rank: Count = 4
    """Fine-tuning learns changes of the weights that have this rank."""
    sequences: Count = 400
    """Losses are measured on this many test sequences."""
    probed: Count = 768
    """Probes learn on this many sequences; half as many others test them."""

    question: ClassVar[str] = "How much of a softmax model survives when its attention becomes a state?"
    time: ClassVar[str] = "2 min"

    @property
    def task(self) -> AssociativeRecall:
        return AssociativeRecall(pairs=self.pairs, symbols=self.symbols)

    def models(self) -> dict[str, ModelConfig]:
        return {"teacher": ModelConfig(self.task.vocabulary, self.width, 2, Attention(heads=2), seed=self.seed)}

    def execute(self, run: Run) -> None:
        teacher, history = run.train("teacher", self.models()["teacher"], self.task, self.training, self.seed)
        run.compute("training", TrainingCurve.of, histories={"softmax teacher": history})
        run.compute(("numbers", "curves", "probes"), self._findings, teacher=teacher)

    def _findings(self, teacher: Model) -> dict[str, Result]:
        """Numbers and curves; and what of the first pair's value, which nobody asks for again, probes find at the last token in
        the keys and values that softmax keeps, in each layer's state, and in what attention reads out.
        """
        found = Findings()
        content = [self._content("softmax", teacher)]
        batch = self.task.batch(self.sequences, self.training.length, "test", generator_for(self.seed, 1))
        own = found.put("softmax: loss", _loss(teacher, batch), "nats")
        for target in TARGETS:
            student = linearize(teacher, target)
            found.put(f"{target}: {ADDED}", _count(student) - _count(teacher), "parameters")
            converted = found.put(f"{target}: loss when converted", _loss(student, batch), "nats")
            self._recover(target, target, student, teacher, batch, converted - own, found)
            content.append(self._content(target, student))
            if target in CONTROLLED:
                drawn = self._drawn_at_random(teacher, target)
                self._recover(f"{target}, {RANDOM}", target, drawn, teacher, batch, converted - own, found)
                for share, ahead in ((CLOSED, AHEAD), (MOVED, MOVED_AHEAD)):
                    if f"{target}: {share}" in found.numbers:
                        drawn_share = found.numbers[f"{target}, {RANDOM}: {share}"]
                        found.put(f"{target}: {ahead}", found.numbers[f"{target}: {share}"] - drawn_share, "share")
        seeded_error = _seeded_is_linear_attention(teacher, batch)
        found.put(SEEDED, seeded_error, "relative error")
        seeded, drawn_losses = (found.curves[TRANSFER.title, name][1][-1] for name in ("mamba", f"mamba, {RANDOM}"))
        found.put(REUSED, drawn_losses / seeded, "ratio")
        numbers, curves = numbers_of(found.numbers, found.units), curves_of(found.curves, [TRANSFER])
        return {"numbers": numbers, "curves": curves, "probes": ProbeScores.join(content)}

    def _recover(
        self, name: str, target: Target, student: Model, teacher: Model, batch: Batch, gap: float, found: Findings
    ) -> None:
        """Transfer, where the method has it, and fine-tuning by changes of low rank; the share of the gap in loss they close."""
        converted = found.numbers["softmax: loss"] + gap
        if target in TRANSFERRED:
            losses = self._transfer(student, teacher)
            found.curves[TRANSFER.title, name] = (list(range(1, len(losses) + 1)), losses)
            moved = found.put(f"{name}: loss after transfer", _loss(student, batch), "nats")
            found.put(f"{name}: {MOVED}", (converted - moved) / gap, "share")
        if target in FIXED_MAPS:
            self._compare_maps(student, teacher, target, batch, found)
        add_low_rank(student, self.rank, seed=self.seed)
        train(student, self.task, self.fine_tuning, seed=self.seed + 1)
        tuned = found.put(f"{name}: loss after fine-tuning", _loss(student, batch), "nats")
        found.put(f"{name}: {CLOSED}", (converted - tuned) / gap, "share")

    def _drawn_at_random(self, teacher: Model, target: Target) -> Model:
        """The control: the same linear mixers, with projections of their own in place of the teacher's."""
        student = linearize(teacher, target)
        fresh = Model(replace(student.config, seed=self.seed + 5))
        for layer in range(teacher.layers):
            student.mixer(layer).load_state_dict(fresh.mixer(layer).state_dict())
        return student

    def _content(self, name: str, model: Model) -> ProbeScores:
        train, test = self._kept(model, "validation", self.probed), self._kept(model, "test", self.probed // 2)
        return ProbeSweep(seed=self.seed).fit(train, labels=["first_value"]).score(test, name)

    @torch.no_grad()
    def _kept(self, model: Model, split: Split, size: int) -> Capture:
        """What each layer keeps and reads out at the last token: keys and values of all tokens as one activation."""
        last = self.training.length - 1
        batch = self.task.batch(size, self.training.length, split, generator_for(self.seed, 2))
        names = [hook_name(layer, f"attn.hook_{part}") for layer in range(2) for part in ("k", "v", "z", "state")]
        fires = [name for name in names if name in model.hook_dict]
        stateful = model.has_state(0)
        _, cache = model.run_with_cache(batch.tokens, names_filter=fires, taps="last" if stateful else None)
        kept = {hook_name(layer, "attn.hook_z"): cache["z", layer][:, last:] for layer in range(2)}
        for layer in range(2):
            if stateful:
                kept[hook_name(layer, "attn.hook_state")] = cache["state", layer]
            else:
                both = torch.cat([cache["k", layer].flatten(1), cache["v", layer].flatten(1)], dim=1)
                kept[hook_name(layer, "attn.keys_and_values")] = both[:, None]
        labels = {"first_value": batch.labels["first_value"][:, last:]}
        return Capture(kept, labels, batch.tokens, batch.groups, (last,))

    def _transfer(self, student: Model, teacher: Model) -> list[float]:
        length = self.training.length
        return transfer(student, teacher, self.task, steps=self.transfer_steps, batch=16, length=length, seed=self.seed)

    def _compare_maps(self, student: Model, teacher: Model, target: Target, batch: Batch, found: Findings) -> None:
        """Divergence from the softmax map, entropy, and monotony in q . k, of the learned features and of a control's that has
        been trained on the teacher's maps for as many steps.
        """
        control = linearize(teacher, target, feature_map=FIXED_MAPS[target])
        self._transfer(control, teacher)
        for name, model in ((target, student), ("elu + 1", control)):
            divergence, entropy, monotony = [], [], []
            for layer in range(teacher.layers):
                names = [
                    hook_name(layer, "hook_resid_pre"),
                    hook_name(layer, "attn.hook_pattern"),
                    hook_name(layer, "attn.hook_attn_scores"),
                ]
                with torch.no_grad():
                    _, cache = teacher.run_with_cache(batch.tokens[:64], names_filter=names)
                    own = layer_attention(model, layer, cache[names[0]])
                truth = cache[names[1]]
                divergence.append(float((truth * ((truth + 1e-12).log() - (own + 1e-12).log())).sum(-1).mean()))
                entropy.append(float((_entropy(own) - _entropy(truth)).abs().mean()))
                last = cache[names[2]][:, :, -1].flatten(0, 1)
                pairs = zip(last.numpy(), own[:, :, -1].flatten(0, 1).numpy(), strict=True)
                monotony.append(float(torch.tensor([spearmanr(*pair).statistic for pair in pairs]).mean()))
            found.put(f"{name}: {DIVERGENCE}", sum(divergence) / len(divergence), "nats")
            found.put(f"{name}: {ENTROPY}", sum(entropy) / len(entropy), "nats")
            found.put(f"{name}: {ORDER}", sum(monotony) / len(monotony), "rank correlation")
        for what in (DIVERGENCE, ENTROPY):
            ratio = found.numbers[f"elu + 1: {what}"] / found.numbers[f"{target}: {what}"]
            found.put(f"{what}: {RATIO}", ratio, "ratio")


def _entropy(weights: Tensor) -> Tensor:
    return -(weights * weights.clamp_min(1e-12).log()).sum(-1)


def _count(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def _loss(model: Model, batch: Batch) -> float:
    return float(task_loss(model(batch.tokens), batch))


@torch.no_grad()
def _seeded_is_linear_attention(teacher: Model, batch: Batch) -> float:
    """The first mamba layer with step 1 and no decay against sum_{j <= i} (q_i . k_j) v_j of the teacher's q, k and v."""
    teacher = _wide(teacher)
    student = linearize(teacher, "mamba")
    mixer = student.mixer(0)
    mixer.project_step.bias.fill_(float(torch.tensor(1.0).double().expm1().log()))
    mixer.log_rate.fill_(-torch.inf)
    names = [f"blocks.0.attn.hook_{part}" for part in ("q", "k", "v")]
    _, cache = teacher.run_with_cache(batch.tokens[:8], names_filter=names)
    q, k, v = (cache[name] for name in names)
    scores = torch.einsum("bihk,bjhk->bhij", q, k).tril() * q.shape[-1] ** -0.5
    expected = torch.einsum("bhij,bjhv->bihv", scores, v)
    _, own = student.run_with_cache(batch.tokens[:8], names_filter="blocks.0.attn.hook_z")
    return float((own["z", 0] - expected).norm() / expected.norm())


def _wide(model: Model) -> Model:
    """A copy in float64."""
    copy = Model(model.config).double().eval()
    copy.load_state_dict({name: tensor.double() for name, tensor in model.state_dict().items()})
    return copy
