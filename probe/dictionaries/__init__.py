"""Sparse dictionaries of activations and states: autoencoders and transcoders, trained, scored beside controls, spliced in."""
