"""A second set of a base's modules that shares every tensor with the first."""

import copy

from transformers import PreTrainedModel


def replica(model: PreTrainedModel) -> PreTrainedModel:
    """Copies the modules of a base without its tensors: it takes next to no memory.

    Args:
        model: a base without adapters; hooks on its modules are not to be shared.
    """
    tensors = [*model.parameters(), *model.buffers()]
    shared = {id(tensor): tensor for tensor in tensors}
    return copy.deepcopy(model, {**shared, id(model.config): model.config})
