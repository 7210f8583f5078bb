"""Where an object store is, and the keys to it, as the Butler's resource layer (lsst.resources) and boto3 find them.

The endpoint of ``s3://profile@bucket/`` is the variable ``LSST_RESOURCES_S3_PROFILE_<profile>``, else, and without a
profile, ``S3_ENDPOINT_URL``, else that of Amazon. It may hold the keys: ``https://<access key>:<secret key>@<host>``,
slashes in them quoted. Keys that it does not hold are those of the profile in the files ``AWS_SHARED_CREDENTIALS_FILE``
(``~/.aws/credentials``) and ``AWS_CONFIG_FILE`` (``~/.aws/config``). Without a profile they are ``AWS_ACCESS_KEY_ID``
and ``AWS_SECRET_ACCESS_KEY``, else those of the profile ``AWS_PROFILE``, or ``default``, in the files.

Messages never tell what stands in a variable or a file: it may be a key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import Error, RawConfigParser
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from butlerql.storage.errors import UnavailableDatastoreError

__all__ = ["Keys", "S3Access", "s3_access"]

_PROFILE = "LSST_RESOURCES_S3_PROFILE_"


class Keys(NamedTuple):
    """What proves who asks."""

    access_key: str
    secret_key: str
    session_token: str | None = None


class S3Access(NamedTuple):
    """How an object store is reached."""

    endpoint: str | None
    """URL without keys; None for Amazon's own."""

    keys: Keys | None
    """None where there are none: the machine itself may have the right."""

    region: str | None


def s3_access(profile: str | None, environ: Mapping[str, str]) -> S3Access:
    """Find out how an object store is reached.

    Parameters
    ----------
    profile
        As in the URI.
    environ
        Environment variables.

    Raises
    ------
    UnavailableDatastoreError
        Raised if an endpoint or a file makes no sense, or there are no keys of the profile.
    """
    variable = "S3_ENDPOINT_URL"
    if profile is not None and environ.get(_PROFILE + profile):
        variable = _PROFILE + profile
    endpoint, keys = _endpoint(variable, environ.get(variable) or None)
    section = profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    known = _section(section, environ)
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or known.get("region")
    if keys is None and profile is None:
        keys = _keys(
            environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY"), environ.get("AWS_SESSION_TOKEN")
        )
    if keys is None:
        keys = _keys(known.get("aws_access_key_id"), known.get("aws_secret_access_key"), known.get("aws_session_token"))
    if keys is None and profile is not None:
        raise UnavailableDatastoreError(
            f"There are no keys of the profile '{profile}': neither in {_PROFILE}{profile} nor in the files of "
            "credentials."
        )
    return S3Access(endpoint, keys, region)


def _endpoint(variable: str, text: str | None) -> tuple[str | None, Keys | None]:
    """Take the keys out of the URL of an endpoint."""
    if text is None:
        return None, None
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise UnavailableDatastoreError(f"The variable {variable} must be a URL: https://host or https://host:port.")
    name = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme or 'http'}://{name}{'' if port is None else f':{port}'}{parts.path}"
    if parts.username is None:
        return url, None
    keys = _keys(unquote(parts.username), unquote(parts.password or ""))
    if keys is None:
        raise UnavailableDatastoreError(
            f"The variable {variable} holds one key only: https://<access key>:<secret key>@host has both."
        )
    return url, keys


def _section(profile: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read what the files say of a profile."""
    home = os.path.expanduser("~")
    files = (
        (environ.get("AWS_CONFIG_FILE") or f"{home}/.aws/config", f"profile {profile}"),
        (environ.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials", profile),
    )
    found: dict[str, str] = {}
    for path, section in files:
        content = RawConfigParser(strict=False)
        try:
            content.read(os.path.expanduser(path), encoding="utf-8")
        except (Error, OSError, UnicodeDecodeError):
            raise UnavailableDatastoreError(f"The credentials in {path} cannot be read or understood.") from None
        # In the one file the default profile alone may go without the word.
        for name in {section, profile} if profile == "default" else {section}:
            if content.has_section(name):
                found |= content[name]
    return found


def _keys(access_key: str | None, secret_key: str | None, session_token: str | None = None) -> Keys | None:
    return Keys(access_key, secret_key, session_token or None) if access_key and secret_key else None
