"""What a card says of the task: its prompt with an example, and the datasets of the hub it uses."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perft.errors import PerftError
from perft.export.extras import Extras, Prompt
from perft.home import remembered_place
from perft.tasks import TaskSource, dataset_ids, from_record, load_task, without_code
from perft.tasks.prompts import TEMPLATE, alpaca


def extras_of_task(
    record: Mapping[str, Any] | None, owner: Path, *, with_example: bool = True
) -> Extras:
    """Prompt and datasets of the task that an adapter was trained on, as far as they are here.

    Args:
        record: what the adapter's folder says of its task; None if it says nothing.
        owner: that folder.
        with_example: whether the prompt may show an example of the validation split.
    """
    if record is None:
        return Extras()
    root = remembered_place(str(record.get("data_fingerprint")))
    try:
        source = without_code(from_record(record, root, owner))
        return Extras(
            prompt=_prompt(source, with_example=with_example), datasets=dataset_ids(source)
        )
    except (PerftError, OSError):  # the data are not here, or no longer what they were
        return Extras()


def _prompt(source: TaskSource, *, with_example: bool) -> Prompt:
    split = load_task(source).validation
    template = str(source.own.get("prompt") or "") if source.own is not None else ""
    if f"prompt {TEMPLATE}" in split.scorer.protocol:
        template = alpaca("{instruction}")
    prompt = Prompt(
        template=template,
        protocol=split.scorer.protocol,
        max_new_tokens=split.scorer.max_new_tokens,
    )
    return dataclasses.replace(prompt, example=split.examples[0]) if with_example else prompt
