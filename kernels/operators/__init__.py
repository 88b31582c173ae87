"""Linear maps by what they do to a vector: one protocol for transitions, tangent kernels, Hessians, Jacobians and matrices."""
