"""Spectra, traces, diagonals and solutions of linear operators, by applying them to vectors and nothing else."""
