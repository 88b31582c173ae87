"""What leads from the stream leaving a foreign model's last layer to its logits, found in a run and held to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..hooks.cache import NotInThisModelError


@dataclass(frozen=True, eq=False)
class Unembedding:
    """The final norm, if there is one, and the output matrix of a foreign model."""

    norm: nn.Module | None
    head: nn.Module

    def __call__(self, stream: Tensor) -> Tensor:
        logits: Tensor = self.head(stream if self.norm is None else self.norm(stream))
        return logits


@torch.no_grad()
def find_unembedding(model: Any) -> Unembedding:
    """The unembedding of a ForeignModel: the output matrix, and the one module that makes what enters it of the last stream.

    Raises NotInThisModelError where the two do not give the model's logits, as where these are scaled or capped afterwards.
    """
    foreign, last = model.foreign, model.foreign_layers[-1]
    head = foreign.get_output_embeddings()
    seen: dict[str, Tensor] = {}
    through: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if module is last:
            seen["stream"] = out if isinstance(out, Tensor) else out[0]
        elif args and isinstance(args[0], Tensor) and isinstance(out, Tensor):
            through.append((module, args[0], out))

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        seen["enters"] = args[0]

    handles = [module.register_forward_hook(partial(note)) for module in foreign.modules() if module is not head]
    handles.append(head.register_forward_pre_hook(before))
    try:
        logits = model(torch.arange(3, device=head.weight.device)[None] % model.cfg.d_vocab)
    finally:
        for handle in handles:
            handle.remove()
    stream, enters = seen["stream"], seen["enters"]
    norm = next(
        (own for own, given, out in through if given is stream and out.shape == enters.shape and _same(out, enters)), None
    )
    found = Unembedding(norm, head)
    if not torch.allclose(found(stream).float(), logits.float(), rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
        raise NotInThisModelError(
            f"the logits of {type(foreign).__name__} are not its output matrix behind one norm of the last stream (they may be "
            "scaled or capped); lenses of this model are not known"
        )
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(torch.equal(one[:, -other.shape[1] :], other))
