"""P024: scalable neural network kernels."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...kernel_regression.activation_features import ActivationFeatures, GaussianFeatures, SineFeatures
from ...kernel_regression.ridge import kernel_ridge
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_most, equals

INPUTS, SAMPLES, UNITS, DRAWS, RIDGE = 6, 40, 30, 6, 0.1
SIZES = (16, 64, 256, 1024, 4096)
KINDS: dict[str, type[ActivationFeatures]] = {"sine": SineFeatures, "gaussian": GaussianFeatures}

SLOPES = {unit: f"{unit} units: exponent of the number of features in the error" for unit in KINDS}
BIAS = "sine units: mean over 400 draws of 64 features against the units themselves, in standard errors"
BUNDLED = "one bundled layer by kernel ridge against scikit-learn's ridge on its features"
FALLS = Axes("error of the features", "features", "root mean square", x_log=True, y_log=True)


class NeuralNetworkKernels(Claim, kind="p024-features"):
    """Units with random weights and biases, from features of inputs and of weights that were drawn apart."""

    paper, scope = "P024", Scope.IDENTITY
    statement = (
        "A unit's output is the mean inner product of random features of its input and of its weights, with an error of the root "
        "of their number, so that two layers bundle to one that ridge regression trains."
    )
    measurements = (
        *(equals(what, -0.5, 0.1, "exponent") for what in SLOPES.values()),
        at_most(BIAS, 5.0, "standard errors"),
        at_most(BUNDLED, 1e-5),
    )
    panels = (FALLS,)
    note = "Sines and Gaussian units alone have an exact density of waves here; savings in transformers are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, generator, found = seeded(seed), torch.Generator().manual_seed(seed), Findings()
        x, w, b = draw(SAMPLES, INPUTS), draw(UNITS, INPUTS), draw(UNITS)
        x, w = (0.6 * rows / rows.norm(dim=1, keepdim=True) for rows in (x, w))
        for unit, what in SLOPES.items():
            errors = []
            for size in SIZES:
                squares = []
                for _ in range(DRAWS):
                    own = KINDS[unit].drawn(INPUTS, size, generator)
                    squares.append(float((own.of_inputs(x) @ own.of_weights(w, b).T - own.exact(x, w, b)).square().mean()))
                errors.append(float(np.mean(squares)) ** 0.5)
            found.numbers[what] = exponent(SIZES, errors)
            found.curves[FALLS.title, unit] = (SIZES, errors)
        several = [SineFeatures.drawn(INPUTS, 64, generator) for _ in range(400)]
        estimates = torch.stack([(own.of_inputs(x) @ own.of_weights(w, b).T - own.exact(x, w, b)).mean() for own in several])
        found.numbers[BIAS] = float(estimates.mean().abs() / (estimates.std() / 400**0.5))
        own = SineFeatures.drawn(INPUTS, 32, generator)
        features, y, test = own.of_inputs(x), x[:, :1].sin() + 0.1 * draw(SAMPLES, 1), own.of_inputs(0.5 * x.flip(0))
        bundled = kernel_ridge(features @ features.T, y, test @ features.T, RIDGE).mean
        fitted = Ridge(alpha=RIDGE, fit_intercept=False, solver="cholesky").fit(features.numpy(), y.numpy()[:, 0])
        found.numbers[BUNDLED] = difference(bundled[:, 0], torch.as_tensor(fitted.predict(test.numpy())))
        return found
