"""Adapters of flash-linear-attention."""
