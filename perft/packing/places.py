"""Where in a search's folder its worker groups keep what they make."""

STATES = "trials"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"


def trial_folder(trial: int) -> str:
    """Name of a trial in folders and on the base, such as "0007"."""
    return f"{trial:04d}"


def trial_file(trial: int, turn: int = 0) -> str:
    """Path of a trial's state in the search's folder; there are two, which take turns."""
    return f"{STATES}/{trial_folder(trial)}{'.other' if turn else ''}.safetensors"


def failure_file(trial: int) -> str:
    """Path of the note that a trial's loss was not finite."""
    return f"{STATES}/{trial_folder(trial)}.failed.json"


def adapter_folder(trial: int) -> str:
    """Path of a full-length trial's adapter."""
    return f"{ADAPTERS}/{trial_folder(trial)}"
