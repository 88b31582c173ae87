"""What Streamlit knows a component of ours by."""

from __future__ import annotations

import hashlib


def component_key(name: str) -> str:
    """A key that Streamlit takes for a component, whatever stands in the name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
