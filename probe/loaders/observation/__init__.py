"""What a model leaves of its recurrences while the user's own code runs it."""
