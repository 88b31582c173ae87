"""Lenses: what an activation says of the next token, were it read by the model's own unembedding."""
