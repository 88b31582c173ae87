"""Groups and automata: what transitions can track, what they do track, and the machine that a model's states amount to."""
