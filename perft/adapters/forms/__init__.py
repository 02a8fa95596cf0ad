"""The table of forms: to add one, add its folder to this package and its lines to this file."""

from collections.abc import Mapping
from typing import Literal

from perft.adapters.forms import dora, lora, parallel
from perft.adapters.forms.declaration import Form

ExpertForm = Literal["lora", "parallel", "dora"]

FORMS: Mapping[str, Form] = {form.name: form for form in (lora.FORM, parallel.FORM, dora.FORM)}
"""Every form by name."""
