"""Each claim falls when the mechanism it speaks of is broken in the package, and holds where it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import (
    Mutation,
    blind_cells,
    bound_of_hgrn2,
    built,
    chunk_terms,
    dense_features,
    entry_of,
    euclidean,
    even_attention,
    even_membership,
    forgetting_slstm,
    hedgehog_without_spikes,
    mamba_decay,
    module,
    no_noise,
    nothing_is_fitted,
    one_scale,
    other_tokens,
    parametrised_as,
    projections_are_lost,
    result_of,
    result_of_method,
    scaled,
    shifted_classes,
    shorter,
    shorter_memory,
    shuffled,
    skipped_too_early,
    turned_basis,
    unpaired,
    unread_attention,
    untrained,
    unwritten_slots,
    weights_are_not_scaled,
    whole_branches,
    whole_residual_branches,
    worse_features,
)
from unchanged_training import unchanged_training

from statescope import DeltaNet, LinearAttention, ModelConfig, Parity, Training
from statescope.analyses.atlas.claim import Claim, every_claim
from statescope.analyses.atlas.measurement import Scope
from statescope.analyses.studies.findings import Numbers
from statescope.analyses.studies.findings import numbers_of as stored
from statescope.probe.configuration import to_plain
from statescope.probe.runs.run import Run

pytestmark = pytest.mark.usefixtures("all_undrawn")
CLAIMS = {claim.kind: claim for claim in every_claim()}
GATES = "probe.channel_mixers.gated_linear_units"
NONLINEARITIES = "analyses.infinite_width.nonlinearities"
ALIGNMENT = "analyses.similarity.centred_kernel_alignment"
PAPERS = "analyses.atlas.papers"
REGRESSION = "analyses.kernel_regression"
WIDE = "analyses.infinite_width"

MUTATIONS: list[tuple[str, Mutation]] = [
    (
        "p024-features",
        result_of_method(f"{REGRESSION}.activation_features", "ActivationFeatures", "of_weights", lambda w: 1.05 * w),
    ),
    (
        "p059-permutations",
        result_of(f"{PAPERS}.p059_permutations", "trained_ensemble", lambda own: own._replace(mean=own.mean + 0.05)),
    ),
    ("p160-variance", result_of_method(f"{WIDE}.nonlinearities", "GoLU", "__call__", lambda out: 1.05 * out)),
    ("p196-sines", no_noise),
    ("p197-coding-rate", result_of(f"{PAPERS}.p197_coding_rate", "coding_rate", lambda rate: 1.01 * rate)),
    ("p199-tangent-tasks", result_of_method("analyses.lazy.tangent_model", "TangentModel", "predict", lambda out: 1.01 * out)),
    ("p202-locality", result_of_method(f"{WIDE}.hierarchical", "HierarchicalNetwork", "_merged", lambda kernel: 0.9 * kernel)),
    ("p204-grokking", one_scale),
    ("p205-kernel-machine", result_of(f"{WIDE}.deep_kernel_machine", "_log_likelihood", lambda own: 0 * own)),
    ("p207-depth", whole_branches),
    ("p207-sharpness", parametrised_as("mup", "ntk")),
    ("p211-student", result_of(f"{REGRESSION}.student_process", "_misfit", lambda misfit: 2 * misfit)),
    ("p220-self-distillation", result_of(f"{REGRESSION}.self_distillation", "_mixed", lambda share: 0.9 * share)),
    ("p227-batch", result_of(f"{PAPERS}.p227_batch_hessian", "batch_outlier", lambda own: 1.1 * own)),
    ("p227-stable-rate", result_of(f"{PAPERS}.p227_batch_hessian", "drawn", lambda rows: torch.arange(256))),
    ("p244-random-features", result_of(f"{PAPERS}.p244_random_features", "sphere_eigenvalues", lambda values: 1.1 * values)),
    ("p257-linear-networks", parametrised_as("mup", "standard")),
    ("p262-reconstruction", result_of(f"{REGRESSION}.reconstruction", "_explained", lambda own: (own[0], -own[1]))),
    ("p262-outliers", result_of(f"{REGRESSION}.reconstruction", "_explained", lambda own: (own[0], -own[1]))),
    ("p262-distillation", result_of(f"{REGRESSION}.reconstruction", "_explained", lambda own: (own[0], -own[1]))),
    ("p270-initial-rate", result_of(f"{PAPERS}.p270_initial_rate", "largest_initial_rate", lambda rate: 1 / rate)),
    (
        "p338-unit-variance",
        result_of("probe.models.unit_variance", "output_variances", lambda own: {layer: 4 * one for layer, one in own.items()}),
    ),
    ("p001-forms", chunk_terms("delta_rule", 3)),
    ("p001-capacity", chunk_terms("delta_rule", 3)),
    ("p002-forms", chunk_terms("delta_rule", 3)),
    ("p002-reflections", chunk_terms("delta_rule", 3)),
    ("p004-forms", result_of("probe.mixers.ret_net", "retnet_log_decay", lambda decay: 1.1 * decay)),
    ("p004-forms", chunk_terms("gated_linear_attention", 3)),
    ("p013-views", entry_of("probe.mixers.hippo", "SHARES", "bilinear", lambda share: 0.0)),
    ("p029-blocks", result_of("probe.mixers.ret_net", "lightning_log_decay", lambda decay: 1.1 * decay)),
    ("p068-bilinear", result_of_method(GATES, "Bilinear", "activation", torch.tanh)),
    (
        "p079-reconstruction",
        result_of_method("kernels.operators.linear_system", "LinearSystem", "krylov", lambda held: 0.9 * held),
    ),
    ("p080-bases", result_of("analyses.atlas.papers.p080_hippo", "legs", lambda system: (system[0], -system[1]))),
    (
        "p109-resets",
        lambda patch: patch.setattr(module("kernels.diagonal_scan"), "_reset", lambda decay, resets: decay),
    ),
    ("p117-two-passes", result_of("kernels.gated_slot_attention", "_read_keys", lambda scores: 1.1 * scores)),
    ("p120-recurrences", chunk_terms("gated_linear_attention", 3)),
    ("p122-forms", chunk_terms("linear_attention", 1)),
    ("p128-modes", result_of("kernels.gate_loop", "_angles", lambda angle: 1.01 * angle)),
    ("p128-counting", result_of("kernels.gate_loop", "_angles", lambda angle: 1.01 * angle)),
    ("p128-modes", result_of("probe.mixers.ret_net", "retnet_log_decay", lambda decay: 1.1 * decay)),
    ("p153-scan", mamba_decay(0.9)),
    ("p154-bounds", bound_of_hgrn2),
    ("p155-taylor", result_of("probe.mixers.feature_maps", "_square", lambda squares: 1.1 * squares)),
    ("p304-averages", even_attention),
    ("p375-cells", entry_of("kernels.cell_scan", "CELLS", "slstm", forgetting_slstm)),
    ("p016-coordinates", weights_are_not_scaled),
    ("p043-limit", result_of_method("analyses.infinite_width.nonlinearities", "Erf", "derivative", lambda slope: 0.8 * slope)),
    ("p043-dynamics", result_of("analyses.kernel_regression.gradient_descent", "_learnt", lambda learnt: 1.2 * learnt)),
    (
        "p198-alignment",
        result_of_method("analyses.ntk.operator", "TangentKernelOperator", "_directions", lambda found: scaled(found, 1.01)),
    ),
    ("p198-ranking", result_of("analyses.ntk.measures", "_cosine", lambda own: -own)),
    ("p200-more-is-better", result_of(f"{PAPERS}.p200_random_features", "random_features_point", worse_features)),
    ("p200-more-is-better", result_of(f"{PAPERS}.p200_random_features", "random_features_point", nothing_is_fitted)),
    ("p315-normal", whole_residual_branches),
    ("p207-rates", parametrised_as("mup", "standard")),
    ("p203-criticality", result_of_method("analyses.infinite_width.nonlinearities", "Erf", "variance", lambda own: 0.99 * own)),
    ("p203-criticality", result_of("analyses.atlas.papers.p203_effective_theory", "deep_linear_kurtosis", lambda own: own**0.5)),
    ("p265-sketch", result_of("analyses.ntk.inner_products", "_gram", lambda kernel: 1.01 * kernel)),
    (
        "p265-selection",
        result_of(f"{PAPERS}.p265_batch_selection", "choose_by_largest_cluster", lambda own: list(range(60, 60 + len(own)))),
    ),
    ("p300-orders", result_of_method(NONLINEARITIES, "ReLU", "expectations", lambda pair: (1.05 * pair[0], pair[1]))),
    ("p315-commute", result_of_method(NONLINEARITIES, "ReLU", "expectations", lambda pair: (1.05 * pair[0], pair[1]))),
    ("p171-circular-transport", result_of("analyses.spectra.circular_transport", "_cut", lambda cut: 0 * cut)),
    ("p224-tangent-fields", result_of("analyses.geometry.tangent_fields", "_carried", lambda carried: 0 * carried + np.eye(2))),
    ("p361-manifold-clusters", result_of("analyses.geometry.manifold_clusters", "doubly_stochastic", even_membership)),
    ("p152-transpose", chunk_terms("delta_rule", 3, 0.0)),
    ("p152-addition", even_attention),
    ("p245-minimal-width", result_of(f"{PAPERS}.p245_minimal_width", "narrow_network", shorter_memory)),
    ("p268-tensor-rank", result_of("analyses.atlas.papers.p268_words_in_groups", "representation", lambda plane: 1.01 * plane)),
    ("p268-grokking", result_of("analyses.atlas.papers.p268_words_in_groups", "multiplication", shuffled)),
    ("p273-contexts", even_attention),
    ("p332-memorisation", even_attention),
    ("p343-convolution", even_attention),
    ("p381-triples", result_of("kernels.triple_attention", "_scores", lambda scores: 0.9 * scores)),
    ("p381-triples", result_of("kernels.triple_attention", "_monomials", lambda monomials: monomials.abs())),
    ("p006-parity", built("probe.mixers.delta_net", "DeltaNet", eigenvalue_range=(0.0, 1.0))),
    ("p154-expansion", built("probe.mixers.hgrn2", "HGRN2", key_size=1)),
    ("p155-recall", built("probe.mixers.linear_attention", "LinearAttention", key_size=1)),
    ("p117-recall", unwritten_slots),
    ("p001-recall", chunk_terms("delta_rule", 3, 0.0)),
    ("p375-parity", blind_cells),
    (
        "p011-tilting",
        result_of_method("probe.subspaces.finders", "MeanDifference", "vector", lambda found: found.roll(1)),
    ),
    ("p026-two-regimes", result_of("probe.estimators.naive_bayes", "coded", shifted_classes)),
    ("p051-matching", result_of("analyses.similarity.unit_matching", "_correlations", lambda own: 0.9 * own)),
    ("p051-two-seeds", result_of("analyses.similarity.unit_matching", "_correlations", lambda own: 0.9 * own)),
    ("p071-distances", result_of("analyses.atlas.papers.p071_sliced_wasserstein", "sliced_wasserstein", lambda own: own + 0.01)),
    ("p075-concept-ablation", result_of_method("probe.subspaces.subspace", "Subspace", "_component", lambda own: 0.9 * own)),
    ("p091-output-directions", result_of_method("probe.subspaces.jacobians", "Jacobians", "directions", turned_basis)),
    ("p097-weight-projection", result_of("probe.erasure.weight_projection", "projected", lambda own: 1.01 * own)),
    (
        "p099-few-samples",
        result_of_method("probe.subspaces.subspace_finders", "ProjectAndProbe", "basis", lambda own: own.roll(1, 0)),
    ),
    ("p100-stitching", result_of("analyses.similarity.linear_map", "_paired", unpaired)),
    ("p118-composition", result_of("analyses.behaviour.logit_correlation", "_hat", lambda own: own.roll(1, 1))),
    ("p138-origins", result_of("analyses.atlas.papers.p138_origins_of_linearity", "train_embeddings", other_tokens)),
    ("p144-maps", result_of("analyses.similarity.linear_map", "_paired", unpaired)),
    ("p144-seeds", result_of("analyses.similarity.linear_map", "_paired", unpaired)),
    ("p148-ideal-words", result_of_method("probe.subspaces.ideal_words", "IdealWords", "__call__", lambda own: 1.01 * own)),
    ("p151-one-dimension", result_of_method("probe.erasure.adversarial_projection", "_Game", "play", lambda own: own.flip(0))),
    ("p163-relations", result_of_method("probe.subspaces.linear_relation", "LinearRelation", "inverse", lambda own: -own)),
    ("p191-causal-geometry", euclidean),
    ("p191-one-geometry", euclidean),
    ("p235-task-geometry", result_of_method(ALIGNMENT, "CentredKernelAlignment", "of", lambda own: -own)),
    ("p258-sparse-features", dense_features),
    ("p259-needle", result_of("probe.estimators.attention_pooled", "_attention", torch.ones_like)),
    ("p130-board", untrained),
    ("p310-biases", result_of_method("probe.interventions.steering_vectors", "SteeringVectors", "hooks", lambda own: own[:0])),
    ("p005-gates-without-parameters", projections_are_lost),
    ("p089-reuse", projections_are_lost),
    ("p017-mimicry", hedgehog_without_spikes),
    ("p009-shares", unread_attention),
    ("p068-improvement", result_of_method(GATES, "SwiGLU", "activation", torch.zeros_like)),
    ("p153-selective-copying", mamba_decay(0.0)),
    ("p375-s3", blind_cells),
    ("p375-a5", blind_cells),
    (
        "p162-onion",
        result_of_method("analyses.behaviour.sequence_edits", "OnionEdit", "scales", lambda own: own.mean(0).expand_as(own)),
    ),
    ("p141-sentiment", result_of_method("probe.subspaces.subspace", "Subspace", "_component", lambda own: 0 * own)),
    ("p146-shortcuts", result_of_method("probe.lenses.fitters", "ShortcutLens", "_solved", shorter)),
    ("p294-depth", skipped_too_early),
    ("p336-transcoders", result_of_method("probe.dictionaries.dictionary", "Dictionary", "connections", lambda own: 1.01 * own)),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where claims run, whole and broken, so that a study which several of them stand on runs once."""
    return tmp_path_factory.mktemp("mutations")


def numbers_of(claim: Claim, folder: Path, seed: int) -> dict[str, float]:
    """What a claim measures on one seed; found again in its folder."""
    with Run.working(folder / claim.kind, claim.kind, to_plain(claim), seed) as run:
        return run.compute(f"seed{seed}", measure, claim=claim, seed=seed, run=run).as_dict()


def measure(claim: Claim, seed: int, run: Run) -> Numbers:
    return stored(claim.experiment(seed, run).numbers, {})


def failing(claim: Claim, numbers: dict[str, float]) -> list[str]:
    """What of these numbers does not hold."""
    found = [(measurement, numbers[measurement.what]) for measurement in claim.measurements]
    return [f"{one.what}: {value:.4g}, {one}" for one, value in found if one.judge(value, value) != "holds"]


@pytest.mark.parametrize(("kind", "mutate"), MUTATIONS, ids=[f"{kind}-{index}" for index, (kind, _) in enumerate(MUTATIONS)])
def test_a_claim_falls_with_its_mechanism(kind: str, mutate: Mutation, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an identity or a construction holds on the same seed where it is whole is told by a test of its own, in
    `test_atlas.py`.
    """
    claim = CLAIMS[kind]().small()
    seed = 0 if claim.scope == Scope.TRAINED else claim.seeds[0]
    if claim.scope == Scope.TRAINED:
        assert failing(claim, numbers_of(claim, runs / "whole", seed)) == []
        unchanged_training(runs / "whole")(monkeypatch)
    mutate(monkeypatch)
    assert failing(claim, numbers_of(claim, runs / f"broken-{id(mutate)}", seed))


def test_no_claim_goes_unbroken() -> None:
    assert {entry[0] for entry in MUTATIONS} == set(CLAIMS)


def test_a_model_is_trained_again_where_a_mutation_changes_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, mixers = Training(steps=6, batch=2, length=8), {"delta": DeltaNet(heads=2), "linear": LinearAttention(heads=2)}

    def losses(folder: str) -> dict[str, tuple[float, ...]]:
        with Run.working(tmp_path / folder / "run", "s", {}, 0) as run:
            models = {label: ModelConfig(2, 8, 1, mixer) for label, mixer in mixers.items()}
            return {label: run.train(label, config, Parity(), training, 0)[1].losses for label, config in models.items()}

    whole = losses("whole")
    unchanged_training(tmp_path / "whole")(monkeypatch)
    chunk_terms("delta_rule", 3)(monkeypatch)
    broken = losses("broken")
    assert broken["linear"] == whole["linear"] and broken["delta"] != whole["delta"]
    assert set(Run(tmp_path / "broken" / "run").manifest.seconds) == {"training: delta"}
