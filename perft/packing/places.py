"""Where in a search's folder its worker groups keep what they make."""

STATES = "trials"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"


def trial_folder(trial: int) -> str:
    """Name of a trial in folders and on the base, such as "0007"."""
    return f"{trial:04d}"


def trial_file(trial: int) -> str:
    """Path of a trial's state in the search's folder."""
    return f"{STATES}/{trial_folder(trial)}.safetensors"
