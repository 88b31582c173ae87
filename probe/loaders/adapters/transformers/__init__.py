"""Adapters of transformers."""
