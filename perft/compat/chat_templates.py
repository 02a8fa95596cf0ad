"""The undocumented renderer of transformers' chat templates; it imports no torch."""

from perft.compat.library import Library

TRANSFORMERS = Library("transformers", tested="5.23.0")

with TRANSFORMERS.needs("to render conversations as a base's tokenizer does"):
    from transformers.utils.chat_template_utils import render_jinja_template

__all__ = ["render_jinja_template"]
