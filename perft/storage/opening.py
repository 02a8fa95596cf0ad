"""Opens the file system behind a URI so that its calls answer soon, if only with an error.

By default the libraries retry for six seconds (S3's reads), not at all (its writes), or for a
quarter of an hour (Google's); here `perft.storage.faults` retries, in the same way for all.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from perft.storage.place import Place

ATTEMPTS = 2
"""Attempts of the AWS library, which corrects its clock and its region with the second."""

_FLAGS = ("allow_bucket_creation", "allow_bucket_deletion", "force_virtual_addressing")
_WORDS = ("scheme", "endpoint_override", "tls_ca_file_path")


def open_remote(place: Place) -> tuple[fs.FileSystem, str]:
    """The file system of a URI, and the folder's path in it.

    Raises:
        OSError: if it does not answer, or a library is missing.
        ValueError: if the URI has options that are unknown.
    """
    if place.scheme in ("gs", "gcs") and "retry_limit_seconds" not in place.query:
        more = "&" if place.query else "?"
        place = Place(place.base, f"{place.query}{more}retry_limit_seconds=5")
    try:
        found, root = fs.FileSystem.from_uri(str(place))
    except NotImplementedError as error:
        raise OSError(f"pyarrow was built without {place.scheme}://") from error
    return (_s3(place, found) if isinstance(found, fs.S3FileSystem) else found), root


def _s3(place: Place, found: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same with fewer attempts, and one request in place of three for a small file."""
    parts, options = urlsplit(place.base), dict(parse_qsl(place.query.removeprefix("?")))
    user = parts.netloc.rpartition("@")[0]
    key, _, secret = user.partition(":")
    return fs.S3FileSystem(
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        region=found.region,
        allow_delayed_open=True,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **{name: options[name] for name in _WORDS if options.get(name)},
        **{name: options[name].lower() in ("true", "1") for name in _FLAGS if name in options},
    )
