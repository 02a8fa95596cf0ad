"""Samplers, which propose trials, and what they and Optuna hear of a search."""
