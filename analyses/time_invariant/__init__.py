"""Layers whose recurrence no token chooses: their poles, responses, Gramians, truncations, and what of the past they hold."""
