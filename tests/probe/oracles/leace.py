"""Write leace.json: what the package concept-erasure (0.2.4, PyPI) makes of a few samples, for `test_erasure.py`.

Run it where that package is installed: python leace.py. Shrinkage and the limit on the trace are extensions that are off.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from concept_erasure import LeaceFitter

generator = torch.Generator().manual_seed(0)
x = torch.randn(60, 5, generator=generator, dtype=torch.float64) @ torch.randn(5, 5, generator=generator, dtype=torch.float64) + 1
z = torch.randint(0, 3, (60,), generator=generator)
x[:, 0] += 2 * (z == 1)
x[:, 3] -= 1.5 * z
one_hot = torch.nn.functional.one_hot(z, 3).double()
found = {"x": x.tolist(), "z": z.tolist()}
for method in ("leace", "orth"):
    fitter = LeaceFitter(5, 3, method=method, dtype=torch.float64, shrinkage=False, constrain_cov_trace=False, svd_tol=1e-9)
    found[method] = fitter.update(x, one_hot).eraser(x).tolist()
Path(__file__).with_name("leace.json").write_text(json.dumps(found))
