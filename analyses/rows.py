"""What is measured of every token, head and sequence, as the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

OF_TOKENS = ("sequence", "position", "head")


def rows_of(measured: Mapping[str, Tensor], axes: Sequence[str] = OF_TOKENS, **where: Any) -> pd.DataFrame:
    """One row for each entry of tensors of one shape: a column for each of their axes, counted from 0, and one for each tensor.

    where: columns that are the same in each row, such as model and layer, which stand first.
    """
    arrays = {name: value.numpy() for name, value in measured.items()}
    shape = next(iter(arrays.values())).shape
    if len(shape) != len(axes) or any(value.shape != shape for value in arrays.values()):
        raise ValueError(f"tensors of shapes {[value.shape for value in arrays.values()]} need the axes {list(axes)} each")
    columns = dict(zip(axes, np.indices(shape), strict=True)) | arrays
    same = {name: np.full(arrays[next(iter(arrays))].size, value) for name, value in where.items()}
    return pd.DataFrame(same | {name: value.ravel() for name, value in columns.items()})
