"""What looks inside: instrumented models, tasks, hooks, captures, probes, directions, edits, studies."""
