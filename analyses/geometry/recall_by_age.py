"""What a model's states give back of the pairs that it wrote: each value read by its own key, by how long ago it was written.

After the last token of a sequence, r_j = S_T^T k_j is compared with v_j, of any matrix state whose layer shows keys and values.
The scale of a state is its own (decays, normalisers), so the comparison is by angle: the cosine of r_j and v_j, and whether of
all values of the sequence v_j is the one nearest to r_j in angle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..models import Models, hooks_of, named_models
from .results.recall_by_age import RecallByAge


def recall_by_age(models: Models, tokens: Tensor) -> RecallByAge:
    """Read every value of a sequence from the state after its last token, by its own key.

    models: a model, ours or a loaded one, or several by name; layers without keys, values and a matrix state are left out.
    tokens: [B, T].

    Equal tokens may write equal values; a pair counts as recalled where its own value ties with the nearest. Raises ValueError
    for a model without such a layer.
    """
    tables = []
    for name, model in named_models(models).items():
        for layer, shown in hooks_of(model, tokens, ("k", "v", "state"), taps="last"):
            [axes] = [point.axes.split() for point in model.layer_points(layer) if point.name == "attn.hook_state"]
            if axes[3:4] != ["key"]:  # a state of slots or channels is not written along the keys
                continue
            cosine, recalled = _recall(shown["state"][:, 0], shown["k"], shown["v"])
            tables.append(_table(cosine, recalled, model=name, layer=layer))
    if not tables:
        raise ValueError("no layer of these models has a state that is written along its keys")
    about = {"sequences": len(tokens), "tokens": tokens.shape[1]}
    return RecallByAge(pd.concat(tables, ignore_index=True)[list(RecallByAge.columns)], about)


def _recall(state: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine and whether the pair is recalled, [B, H, T]. state [B, H, K, V']; k, v [B, T, H, (n,) K | V]."""
    if k.ndim == 5:
        pairs = [_recall(state, key, value) for key, value in zip(k.unbind(3), v.unbind(3), strict=True)]
        cosines, recalled = (torch.stack(part).mean(0) for part in zip(*pairs, strict=True))
        return cosines, recalled
    values = v.movedim(1, 2)
    read = k.movedim(1, 2).to(state.dtype) @ state[..., : v.shape[-1]]
    read = normalize(read.real if read.is_complex() else read, dim=-1)
    cosines = read @ normalize(values.to(read.dtype), dim=-1).mT
    own = cosines.diagonal(dim1=-2, dim2=-1)
    return own, (own >= cosines.amax(-1) - 1e-9).double()


def _table(cosine: Tensor, recalled: Tensor, **where: Any) -> pd.DataFrame:
    by_head, nearest = cosine.mean(0).numpy(), recalled.mean(0).numpy()
    head, position = np.indices(by_head.shape)
    age = by_head.shape[1] - 1 - position
    columns = {"head": head, "age": age, "cosine": by_head, "recalled": nearest}
    return pd.DataFrame({key: value.ravel() for key, value in columns.items()}).assign(**where)
