"""How alike the representations of two models, layers or states are, beside what chance gives."""
