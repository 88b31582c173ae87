"""P059: exact learning of permutations of binary inputs, from the standard basis alone."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ....probe.runs.run import Run
from ....probe.statistics.power_laws import exponent
from ...infinite_width.dense import DenseNetwork
from ...infinite_width.network import infinite_width_kernels
from ...kernel_regression.ridge import Posterior, trained_ensemble
from ...studies.findings import Axes, Findings
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

FAMILY = DenseNetwork(1)
BITS, SIZES = 8, (64, 128, 256, 512)

RIGHT = "share of the bits of all other inputs that the sign of the mean gives"
ZEROS = "largest mean where the bit is zero"
NETWORKS = "exponent of the number of bits in the squared spread over the squared mean"
NEEDED = Axes("networks that an average needs", "bits", "squared spread over squared mean", x_log=True, y_log=True)


class Permutations(Claim, kind="p059-permutations"):
    """Infinitely wide ReLU networks with one hidden layer, trained on unit vectors."""

    paper, scope = "P059", Scope.IDENTITY
    statement = (
        "Networks that see only the unit vectors of a permutation say by the sign of their mean where it takes each bit of every "
        "input, and an average over networks of a number that grows linearly with the bits, up to logarithms, shows the sign."
    )
    measurements = (
        at_least(RIGHT, 1.0),
        at_most(ZEROS, 1e-12, "output"),
        equals(NETWORKS, 1.0, 0.25, "exponent"),
    )
    panels = (NEEDED,)
    note = (
        "For all 2^k inputs together the failures of each have to be 2^k times rarer, which is the other factor k of the paper; "
        "it is not measured by drawing."
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        generator = torch.Generator().manual_seed(seed)
        found, order = Findings(), torch.randperm(BITS, generator=generator)
        inputs = torch.tensor(list(product((0.0, 1.0), repeat=BITS)), dtype=torch.float64)
        unseen = inputs[inputs.sum(1) > 1]
        mean, truth = trained_on_units(unseen, torch.eye(BITS, dtype=torch.float64)[:, order]).mean, unseen[:, order]
        found.numbers[RIGHT] = float(((mean > 1e-9) == (truth > 0.5)).double().mean())
        found.numbers[ZEROS] = float(mean[truth < 0.5].max())
        worst = []
        for bits in SIZES:
            several = torch.tril(torch.ones(bits, bits, dtype=torch.float64))  # which bits are set does not matter, how many does
            predicted = trained_on_units(several, torch.eye(bits, dtype=torch.float64))
            assert predicted.variance is not None
            worst.append(float((predicted.variance / predicted.mean[:, 0].square()).max()))
        found.numbers[NETWORKS] = exponent(SIZES, worst)
        found.curves[NEEDED.title, "the worst input"] = (SIZES, worst)
        return found


def trained_on_units(inputs: Tensor, targets: Tensor) -> Posterior:
    """What networks trained on the unit vectors, with these targets, predict of inputs of length one."""
    units, points = torch.eye(len(targets), dtype=torch.float64), inputs / inputs.norm(dim=1, keepdim=True)
    own, cross = infinite_width_kernels(FAMILY, units), infinite_width_kernels(FAMILY, points, units)
    variance = infinite_width_kernels(FAMILY, points[:1]).nngp[0].expand(len(points))  # of all points, which have length one
    return trained_ensemble(own.nngp, own.ntk, targets, cross.nngp, cross.ntk, variance)
