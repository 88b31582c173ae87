"""What is concluded: spectra, trajectories, tangent kernels, and the atlas of papers."""
