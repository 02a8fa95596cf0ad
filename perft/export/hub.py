"""Sends an exported folder to the Hugging Face hub.

The token is the one that `hf auth login` keeps, or `HF_TOKEN`; huggingface_hub alone reads it.
`HF_ENDPOINT` names another hub.
"""

from pathlib import Path

from huggingface_hub import HfApi, get_token

# What the hub's documents name in places from which its types do not export it.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    disable_progress_bars,
    validate_repo_id,
)

from perft.errors import ConfigError, StorageError, first_line
from perft.masking import masked

_LOGIN = "log in by `hf auth login`, or set HF_TOKEN"
_REFUSED = (401, 403)


def require_login(repo: str) -> None:
    """Checks the repository's name and the login, before anything is written.

    Args:
        repo: id of a repository, "owner/name".

    Raises:
        ConfigError: if it is no id, or the user is not logged in.
        StorageError: if the hub cannot be reached.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--push-to-hub {repo}: {first_line(error)}") from None
    if "/" not in repo:
        raise ConfigError(f"--push-to-hub is {repo}, wanted its owner too: OWNER/{repo}")
    api = HfApi()
    if get_token() is None:
        raise ConfigError(f"you are not logged in at {api.endpoint}; {_LOGIN}")
    try:
        api.whoami()
    except (HTTPError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _REFUSED:
            raise ConfigError(f"{api.endpoint} does not accept your token; {_LOGIN}") from None
        raise StorageError(
            f"{api.endpoint} cannot be asked who is logged in: {masked(first_line(error))}; try "
            "again, or export without --push-to-hub"
        ) from None


def push(folder: Path, repo: str, *, private: bool, message: str, progress: bool) -> str:
    """Sends a folder as one commit, to a repository that is made if it is not there.

    Args:
        folder: an exported folder.
        repo: id of the repository.
        private: whether a new repository is private whatever its owner's default is; one that is
            there stays as it is.
        message: of the commit.
        progress: whether to show how far the files are sent.

    Returns:
        The address of the repository.

    Raises:
        StorageError: if the hub refuses it, or cannot be reached; the folder stays.
    """
    if not progress:
        disable_progress_bars()
    api = HfApi()
    try:
        place = api.create_repo(repo, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=place.repo_id, folder_path=folder, commit_message=message)
    except (HTTPError, RuntimeError, ValueError, OSError) as error:
        reason = masked(first_line(error.__cause__ or error))
        raise StorageError(
            f"{folder} is written, but {api.endpoint} did not take it as {repo}: {reason}; send "
            f"it later by: hf upload {repo} {folder}"
        ) from None
    return str(place)
