"""Pruners, which stop trials at rungs."""
