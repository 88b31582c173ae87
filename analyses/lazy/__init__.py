"""Lazy and rich training: networks beside their linearisations, and how learning rates carry over between widths."""
