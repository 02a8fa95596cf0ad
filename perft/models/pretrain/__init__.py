"""Builds the built-in base again: `python -m perft.models.pretrain --out DIR --seed 0`."""
