"""Form "lora": D(x) = (alpha/r) B A drop(x)."""

from perft.adapters.forms.declaration import Form

FORM = Form(
    name="lora",
    settings=frozenset({"alpha"}),
    mathematics="perft.adapters.forms.lora.mathematics",
)
