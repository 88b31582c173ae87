"""The empirical neural tangent kernel of a model, exact.

    Theta_ij = J_i J_j^T,   J_i = d f(x_i) / d parameters   [O, P]

"trace" sums it over the outputs, sum_o <J_io, J_jo> [N, N]; "full" keeps them, [N, O, N, O] (Jacot et al. 2018,
arXiv:1806.07572). `jacobian` says how its rows are made and checked; the Jacobian is held for one output at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...probe.errors import unknown_name
from .jacobian import Jacobian, Read, Route, as_real, last_position, refuse_coupled_modules

Output = Literal["trace", "full"]


@dataclass(frozen=True)
class TangentKernel:
    """The empirical tangent kernel of a model, and how it was computed.

    values: [N, N] or [N, O, N, O], float64. routes: of each parameter that was counted, by its name; "unused" marks one that
    the outputs do not depend on. Parameters with `requires_grad` off are not counted.
    """

    values: Tensor
    routes: dict[str, Route]

    def summary(self) -> str:
        """How many parameters were counted, and which were differentiated sample by sample."""
        alone = [name for name, route in self.routes.items() if route == "alone"]
        return f"{len(self.routes)} parameters counted, {len(alone)} of them sample by sample ({', '.join(alone) or 'none'})"


def empirical_ntk(
    model: nn.Module,
    x: Tensor,
    output: Output = "trace",
    *,
    read: Read = last_position,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The kernel of a model on the samples x, in float64; `tangent_kernel` says which parameters are in it."""
    return tangent_kernel(model, x, output, read=read, advance=advance).values


def tangent_kernel(
    model: nn.Module,
    x: Tensor,
    output: Output = "trace",
    *,
    read: Read = last_position,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> TangentKernel:
    """The kernel of a model on the samples x, and the parameters that it counts.

    x: [N, T] tokens, [N, D] numbers, or whatever the model takes, samples first. Real numbers are taken to float64.
    output: "trace" or "full".
    read: from the model's output to f [N, O]; by default what it says at the last token.
    advance: called with (outputs done, outputs in all).

    The parameters with `requires_grad` are counted, a tied one once. The model is left as it is.

    Raises ValueError for a model whose samples are not independent (batch normalisation or dropout in training), one without a
    parameter to count, and a `read` that does not give [N, O].
    """
    if output not in ("trace", "full"):
        raise unknown_name("output", str(output), ("trace", "full"))
    refuse_coupled_modules(model)
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().double() if x.is_floating_point() else x.detach().clone()
        jacobian = Jacobian(model, x, read)
        count, outputs = jacobian.values.shape
        shape = (count, count) if output == "trace" else (count, outputs, count, outputs)
        kernel, whole = jacobian.values.new_zeros(shape, dtype=torch.float64), []
        for index in range(outputs):
            flat = [as_real(rows) for rows in jacobian.rows(index).values()]
            if output == "trace":
                for part in flat:
                    kernel += part @ part.T
            else:
                whole.append(torch.cat(flat, dim=1))
            advance(index + 1, outputs)
        if output == "full":
            stacked = torch.stack(whole, dim=1)  # [N, O, P]
            kernel = torch.einsum("iop,jqp->iojq", stacked, stacked)
    return TangentKernel(kernel, jacobian.routes)
