"""Finders of subspaces against planted ones and scikit-learn, Jacobians against small steps, relations against a linear one."""

from __future__ import annotations

import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from torch import Tensor
from torch.nn.functional import normalize

from statescope import DeltaNet, Direction, Model, ModelConfig, Subspace
from statescope.directions import (
    Jacobians,
    LinearRelation,
    PartialLeastSquares,
    PrincipalComponents,
    ProjectAndProbe,
    Reading,
    SubspaceFinder,
    activation_jacobians,
    concept_interval,
    subspace_interval,
)
from statescope.estimators import Logistic, NaiveBayes
from statescope.probe.subspaces.intervals import SubspaceInterval

WHERE = {"hook": "blocks.0.hook_resid_post", "name": "concept"}
FINDERS: list[SubspaceFinder] = [ProjectAndProbe(), PartialLeastSquares(), PrincipalComponents()]


def planted(samples: int, seed: int = 0, features: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Four classes, whose means are two bits along two orthogonal directions [D, 2], in white noise."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.linalg.qr(torch.randn(features, 2, generator=generator, dtype=torch.float64))[0]
    bits = torch.randint(0, 2, (samples, 2), generator=generator)
    noise = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    held = bits.double() * torch.tensor([6.0, 5.0], dtype=torch.float64)
    return noise + held @ plane.T + 1, bits @ torch.tensor([2, 1]), plane


@pytest.mark.parametrize("finder", FINDERS, ids=lambda finder: finder.kind)
def test_each_finds_a_planted_plane(finder: SubspaceFinder) -> None:
    x, labels, plane = planted(1201)
    found = finder.fit(x, labels, split="test", **WHERE)
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert found.agreement(Subspace(plane, *WHERE.values())) > 0.97 and found.about["split"] == "test"
    assert finder.fit(x.float(), labels, **WHERE).basis.dtype == torch.float32
    labels[:7] = -100
    assert finder.fit(x, labels, **WHERE).about["samples"] == 1194


def test_the_first_of_project_and_probe_is_the_reading_and_all_of_them_are_the_probe() -> None:
    x, labels, _ = planted(400)
    two = labels // 2
    first = ProjectAndProbe(rank=1).fit(x, two, **WHERE)
    assert abs(float(first.basis[:, 0] @ Reading(Logistic(penalties=(1e-3,))).fit(x, two == 1, **WHERE).vector)) > 1 - 1e-9
    whole = ProjectAndProbe(rank=9).fit(x, two, **WHERE)
    torch.testing.assert_close(whole.basis.T @ whole.basis, torch.eye(9, dtype=torch.float64), atol=1e-6, rtol=0)
    targets, groups = {"a": labels}, torch.arange(400)
    probe = Logistic(penalties=(1e-6,), tolerance=1e-7)
    turned = probe.fit_many(whole.coordinates(x), targets, groups)["a"].predict(whole.coordinates(x))
    assert float((turned == probe.fit_many(x, targets, groups)["a"].predict(x)).double().mean()) > 0.995
    again = ProjectAndProbe(rank=3).fit(x, two, **WHERE)
    assert again.agreement(Subspace(whole.basis[:, :3], *WHERE.values())) > 1 - 1e-9  # those before do not depend on those behind


def test_few_directions_need_few_samples_where_the_target_turns_to_the_second() -> None:
    """Source labels go with two features; in the target one of them has turned around, and four samples a class are there."""
    generator = torch.Generator().manual_seed(3)
    right = {2: 0.0, 40: 0.0}
    sign = torch.randint(0, 2, (600,), generator=generator) * 2 - 1
    x = torch.randn(600, 40, generator=generator, dtype=torch.float64)
    x[:, 0] += 3 * sign
    x[:, 1] += 2 * sign
    basis = ProjectAndProbe(rank=2).fit(x, sign, **WHERE)
    for _ in range(20):
        own = torch.randint(0, 2, (400,), generator=generator) * 2 - 1
        own[:8] = torch.tensor([1, -1] * 4)
        y = torch.randn(400, 40, generator=generator, dtype=torch.float64)
        y[:, 0] -= 3 * own
        y[:, 1] += 2 * own
        for width, seen in ((2, basis.coordinates(y)), (40, y)):
            probe = Logistic(penalties=(1e-2,), folds=2).fit_many(seen[:8], {"a": own[:8]}, torch.arange(8))["a"]
            right[width] += float((probe.predict(seen[8:]) == own[8:]).double().mean()) / 20
    assert right[2] > 0.95 and right[2] > right[40] + 0.05, right


def test_partial_least_squares_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 7, generator=generator, dtype=torch.float64) @ torch.diag(torch.arange(1.0, 8)).double()
    y = x @ torch.randn(7, 3, generator=generator, dtype=torch.float64) + torch.randn(80, 3, generator=generator).double()
    found = PartialLeastSquares(rank=4).fit(x, y, **WHERE)
    theirs = torch.from_numpy(PLSRegression(4, scale=False, tol=1e-14, max_iter=5000).fit(x.numpy(), y.numpy()).x_weights_)
    torch.testing.assert_close((found.basis.T @ theirs).abs(), torch.eye(4, dtype=torch.float64), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="rank of at most"):
        PartialLeastSquares(rank=2).fit(torch.eye(4, dtype=torch.float64), torch.tensor([0, 0, 1, 1]), **WHERE)


def test_what_gives_no_subspace_is_refused() -> None:
    x, labels, _ = planted(60)
    for finder in FINDERS:
        with pytest.raises(ValueError, match="do not differ"):
            finder.fit(x, torch.zeros(60), **WHERE)
        with pytest.raises(ValueError, match="must be finite"):
            finder.fit(torch.where(x > 4, torch.nan, x), labels, **WHERE)
        with pytest.raises(ValueError, match="with N labels"):
            finder.fit(x, labels[1:], **WHERE)
        with pytest.raises(TypeError, match="complex"):
            finder.fit(x.to(torch.complex128), labels, **WHERE)
    with pytest.raises(ValueError, match="vary along 9"):
        PrincipalComponents(rank=10).fit(x, labels, **WHERE)
    with pytest.raises(TypeError, match="no linear probe"):
        ProjectAndProbe(estimator=NaiveBayes()).fit(x, labels, **WHERE)
    with pytest.raises(ValueError, match="two groups"):
        subspace_interval(PrincipalComponents(), x, labels, groups=torch.zeros(60).long(), **WHERE)


def test_the_interval_of_a_subspace_holds_the_planted_one_and_knows_noise() -> None:
    held = 0
    for seed in range(40):
        x, labels, plane = planted(160, seed=seed, features=5)
        groups = torch.arange(160) // 4
        found = subspace_interval(PartialLeastSquares(), x, labels, groups=groups, resamples=60, seed=seed, **WHERE)
        held += found.found.agreement(Subspace(plane, *WHERE.values())) >= found.low
    assert held >= 35, held
    noise = torch.randn(160, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert subspace_interval(PartialLeastSquares(), noise, planted(160)[1], resamples=60, **WHERE).low < 0.5


def test_without_takes_a_span_out_and_leaves_no_first_order_effect_on_it() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    metric = root @ root.T + torch.eye(5, dtype=torch.float64)
    for measure in (None, metric):
        first, second = (
            Direction(normalize(torch.randn(5, generator=generator, dtype=torch.float64), dim=0), "h", name) for name in "ab"
        )
        a, b = (first, second) if measure is None else (first.under(measure), second.under(measure))
        left = a.without(b)
        assert isinstance(left, Direction) and abs(left.cosine(b)) < 1e-12 < abs(a.cosine(b))
        assert left.about["without"] == ["b"] and left.cosine(a) > 0
        plane = Subspace.random(Subspace(torch.eye(5, dtype=torch.float64)[:, :2], "h", "c"), generator).under(measure)
        assert abs(float(plane.without(b).coordinates(b.vector).norm())) < 1e-12
        far = torch.full_like(a.vector, 7.0)
        moved = a.counted_from(far).without(b.counted_from(-far))  # directions have no place, and coordinates keep theirs
        torch.testing.assert_close(moved.vector, left.vector)
        assert torch.equal(moved.origin, far)
    with pytest.raises(ValueError, match="nothing is left"):
        first.without(Subspace(torch.stack([first.vector, second.without(first).vector], 1), "h", "c"))
    with pytest.raises(ValueError, match="different spaces"):
        first.without(Direction(torch.eye(4)[0], "h", "c"))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ModelConfig(vocabulary=6, width=8, layers=2, mixer=DeltaNet(heads=2), seed=1)).double().eval()


TOKENS = torch.randint(0, 6, (7, 6), generator=torch.Generator().manual_seed(0))
EARLY, LATE, STATE = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.0.attn.hook_state"


@pytest.mark.parametrize(("hook", "to", "at"), [(EARLY, None, 2), (EARLY, LATE, torch.arange(7) % 4), (STATE, LATE, 2)])
def test_jacobians_are_differences_of_small_steps(model: Model, hook: str, to: str | None, at: int | Tensor) -> None:
    found = activation_jacobians(model, TOKENS, hook, at=at, to=to, read=-1)
    size = found.matrices.shape[2]
    step = 1e-5 * torch.randn(7, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, place = torch.arange(7), torch.zeros(7).long() if hook == STATE else torch.as_tensor(at).expand(7)

    def read(sign: int) -> Tensor:
        shown: dict[str, Tensor] = {}

        def move(value: Tensor, hook: object) -> Tensor:
            own = value.clone()
            own[rows, place] += sign * step.view(own[rows, place].shape)
            return own

        hooks = [(hook, move), *([] if to is None else [(to, lambda value, hook: shown.update(out=value))])]
        with torch.no_grad():
            logits = model.run_with_hooks(TOKENS, fwd_hooks=hooks, **({"taps": [2]} if hook == STATE else {}))
        return (logits if to is None else shown["out"])[:, -1]

    moved = (read(1) - read(-1)) / 2
    torch.testing.assert_close(torch.einsum("nmd,nd->nm", found.matrices, step), moved, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(found.outputs, read(0))


def test_directions_are_the_right_singular_vectors_in_their_order(model: Model) -> None:
    found = activation_jacobians(model, TOKENS, EARLY, at=-1)
    _, values, right = torch.linalg.svd(found.matrices.flatten(0, 1), full_matrices=False)
    three = found.directions(3)
    torch.testing.assert_close((three.basis.T @ right[:3].T).abs(), torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(three.about["gains"]).double(), values[:3] / 7**0.5)
    own = found.select(torch.tensor([4])).directions(1)
    assert abs(float(own.basis[:, 0] @ torch.linalg.svd(found.matrices[4])[2][0])) > 0.999
    assert found.interval(1, resamples=40).low < 1
    few = activation_jacobians(model, TOKENS, EARLY, at=-1, output=lambda logits: logits[:, 1:2] - logits[:, 3:4])
    assert few.matrices.shape == (7, 1, 8)
    with pytest.raises(ValueError, match="moves along 7"):
        few.directions(8)


def test_jacobians_of_nothing_are_refused(model: Model) -> None:
    for wrong in ({"at": 3, "read": 2}, {"at": 3, "to": "blocks.0.hook_resid_pre"}):
        with pytest.raises(ValueError, match="does not depend on"):
            activation_jacobians(model, TOKENS, EARLY, **wrong)
    with pytest.raises(IndexError, match="outside the 6"):
        activation_jacobians(model, TOKENS, EARLY, at=6)
    with pytest.raises(ValueError, match="one number"):
        activation_jacobians(model, TOKENS, STATE, at=torch.arange(7) % 2)
    with pytest.raises(ValueError, match="of each of the 7"):
        activation_jacobians(model, TOKENS, EARLY, at=torch.arange(3))
    with pytest.raises(ValueError, match="is not known"):
        activation_jacobians(model, TOKENS, "blocks.0.hook_resid", at=0)


def subjects(samples: int = 120, seed: int = 0) -> tuple[Jacobians, Tensor, Tensor]:
    """Subjects [N, D] with objects in four classes; o = W s + b with W of rank 3. Gives (Jacobians, object, W)."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(6, 3, generator=generator).double() @ torch.randn(3, 10, generator=generator).double()
    centres, which = 3 * torch.randn(4, 10, generator=generator).double(), torch.randint(0, 4, (samples,), generator=generator)
    s = centres[which] + torch.randn(samples, 10, generator=generator).double()
    bias = torch.randn(6, generator=generator).double()
    return Jacobians(weights.expand(samples, 6, 10), s, s @ weights.T + bias, torch.arange(samples) // 3, "h"), which, weights


def test_a_linear_relation_is_found_as_it_is_and_taken_back() -> None:
    found, which, weights = subjects()
    relation = LinearRelation.of(found)
    torch.testing.assert_close(relation.predict(found.inputs), found.outputs)
    assert float((relation.predict(found.inputs, 2.0) - found.outputs).norm()) > 1
    torch.testing.assert_close(relation.inverse(3), torch.linalg.pinv(weights, rtol=1e-10), rtol=1e-6, atol=1e-9)
    concept = relation.concept(found.outputs[which == 2], name="two", rank=3)
    torch.testing.assert_close(weights @ concept.vector * concept.scale + relation.bias, found.outputs[which == 2].mean(0))
    row = torch.linalg.svd(weights, full_matrices=False)[2][:3]
    centre = row.T @ row @ found.inputs[which == 2].mean(0)
    assert float(concept.vector @ centre / centre.norm()) > 1 - 1e-9  # the mean of its subjects, as far as the relation sees it
    with pytest.raises(ValueError, match="rank 3"):
        relation.inverse(4)
    with pytest.raises(ValueError, match=r"outputs \[n, 6\]"):
        relation.concept(found.inputs, name="two", rank=3)


def test_the_interval_of_a_concept_is_over_groups_of_subjects() -> None:
    found, which, _ = subjects()
    interval = concept_interval(found, which == 1, name="one", rank=3, resamples=50)
    assert 0.5 < interval.low < 1 and interval.groups == 40
    other = concept_interval(subjects(240)[0], subjects(240)[1] == 1, name="one", rank=3, resamples=50)
    assert other.low > 0.5
    with pytest.raises(ValueError, match="at least two groups"):
        concept_interval(found, torch.arange(120) == 5, name="one", rank=3)
    with pytest.raises(ValueError, match="there are 120"):
        concept_interval(found, which[:3] == 1, name="one", rank=3)


def test_samples_without_a_label_say_nothing_of_a_subspace_nor_of_how_sure_it_is() -> None:
    x, labels, _ = planted(60)
    few = torch.cat([labels, torch.tensor([-100])])  # one sample without a label, which many resamples lack
    more = torch.cat([x, torch.full((1, 9), 7.0, dtype=torch.float64)])
    groups = torch.cat([torch.arange(60) // 30, torch.tensor([0])])
    found = subspace_interval(PartialLeastSquares(), more, few, groups=groups, resamples=40, **WHERE)
    alone = subspace_interval(PartialLeastSquares(), x, labels, groups=groups[:60], resamples=40, **WHERE)
    torch.testing.assert_close(torch.from_numpy(found.cosines), torch.from_numpy(alone.cosines))
    numbers = torch.tensor([1.0, 1.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)  # a resample may have one number alone
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    assert len(subspace_interval(PrincipalComponents(), x[:6], numbers, groups=groups, resamples=20, **WHERE).cosines) == 20


def test_a_concept_of_which_it_is_not_known_who_has_it_is_refused() -> None:
    found, which, _ = subjects()
    has = (which == 1).long()
    has[:4] = -100
    with pytest.raises(ValueError, match="where it is not known"):
        concept_interval(found, has, name="one", rank=3)


def test_an_interval_over_few_groups_reaches_further() -> None:
    """Of 5 groups its end is the quantile at Phi(-sqrt(5 / 4) t_{0.95, 4}) = Phi(-2.383)."""
    one = Subspace(torch.eye(3)[:, :1], *WHERE.values())
    cosines = torch.linspace(0, 1, 100_001, dtype=torch.float64).numpy()
    assert SubspaceInterval(one, cosines, 5).low == pytest.approx(0.00858, abs=2e-5)
    assert SubspaceInterval(one, cosines, 10_000).low == pytest.approx(0.05, abs=1e-4)
