"""Regression with a kernel: what gradient descent predicts at each step, and how the error falls with the number of samples."""
