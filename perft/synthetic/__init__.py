"""A small invented world, written as text: what the built-in base reads and is asked about.

Free of torch. Everything is generated in memory from a `random.Random`, and the same generator
state always gives the same text.
"""
