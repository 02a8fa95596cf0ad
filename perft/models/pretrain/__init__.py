"""Pretrains tiny bases: `python -m perft.models.pretrain --out DIR --architecture olmoe`."""
