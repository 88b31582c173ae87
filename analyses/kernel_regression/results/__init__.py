"""Tables and figures of what is measured next door. Importing one imports nothing that computes."""
