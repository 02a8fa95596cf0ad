"""Rebuilds the built-in base: `python -m perft.models.pretrain --out DIR --seed 0`."""
