"""P205: a theory of representation learning gives a deep generalisation of kernel methods."""

from __future__ import annotations

from itertools import pairwise

import torch

from ....probe.runs.run import Run
from ...infinite_width.deep_kernel_machine import deep_kernel_machine
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...ntk.measures import kernel_target_alignment, relative_change
from ...studies.findings import Axes, Findings
from ..agreement import seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

FAMILY = DenseNetwork(3, bias_variance=0.1)
SAMPLES, FEATURES, NOISE, STRENGTHS = 14, 4, 0.1, (1.0, 10.0, 100.0, 1e5)

LIMIT = "kernel of the outputs from that of the infinitely wide network, strength 100000"
LIKELIER = "log-likelihood of the targets at strength 1 less that of the infinitely wide network"
ALIGNED = "alignment of the kernel with the targets, the same difference"
FALLS = "largest fall of the objective from a step to the next, relative"
BENT = Axes("distance of the kernel from the infinitely wide network's", "strength", "relative", x_log=True, y_log=True)


class DeepKernelMachine(Claim, kind="p205-kernel-machine"):
    """A ReLU machine of two learned layers on 14 points."""

    paper, scope = "P205", Scope.IDENTITY
    statement = (
        "Gram matrices of all layers, chosen for the targets and held by divergences to what the layers give, are those of the "
        "infinitely wide network where the divergences prevail, and bend to the targets where they do not."
    )
    measurements = (
        at_most(LIMIT, 1e-3),
        at_least(LIKELIER, 0.5, "nats"),
        at_least(ALIGNED, 0.02, "alignment"),
        at_most(FALLS, 1e-9),
    )
    panels = (BENT,)
    note = "The variant with inducing points and the comparison with deep Gaussian processes of finite width are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        x = draw(SAMPLES, FEATURES)
        y = torch.cat([(x[:, :1] * x[:, 1:2]).sign(), x[:, 2:3].sign()], 1)
        wide = infinite_width_kernels(FAMILY, x).nngp
        noisy = wide + NOISE * torch.eye(SAMPLES, dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(torch.zeros(SAMPLES, dtype=torch.float64), noisy)
        learned = [deep_kernel_machine(FAMILY, x, y, strength, NOISE) for strength in STRENGTHS]
        distances = [relative_change(one.kernel, wide) for one in learned]
        falls = [(before - after) / abs(before) for one in learned for before, after in pairwise(one.objective)]
        found.numbers = {
            LIMIT: distances[-1],
            LIKELIER: learned[0].log_likelihood - float(law.log_prob(y.T).sum()),
            ALIGNED: kernel_target_alignment(learned[0].kernel, y) - kernel_target_alignment(wide, y),
            FALLS: max(falls, default=0.0),
        }
        found.curves[BENT.title, "two layers"] = (STRENGTHS, distances)
        return found
