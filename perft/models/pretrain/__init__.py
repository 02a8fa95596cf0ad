"""Builds the embedded base again: `python -m perft.models.pretrain --out DIR --seed 0`."""
