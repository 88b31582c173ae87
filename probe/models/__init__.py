"""Instrumented models."""
