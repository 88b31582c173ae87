"""Networks of infinite width: the Gaussian process they are drawn from and the tangent kernel they train by, in closed form."""
