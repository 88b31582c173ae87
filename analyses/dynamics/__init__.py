"""How a model comes to be what it is: what is measured of it while it trains."""
