"""Form "parallel": D(x) = W2 f(drop(W1 x)), without scale."""

from typing import Literal

from perft.adapters.forms.declaration import Form

Activation = Literal["gelu", "gelu_pytorch_tanh", "relu", "relu2", "silu", "tanh"]
"""Choices of f, by their names in transformers; all are 0 at 0."""

FORM = Form(
    name="parallel",
    settings=frozenset({"activation"}),
    mathematics="perft.adapters.forms.parallel.mathematics",
)
