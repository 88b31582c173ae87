"""Hooks on any torch module, by the names of its submodules."""
