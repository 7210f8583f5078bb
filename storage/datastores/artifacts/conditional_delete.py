"""Removing an object only if it is still the one that is meant: the one request that obstore does not have."""

from __future__ import annotations

import logging
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any

from butlerql.storage.errors import UnavailableDatastoreError

if TYPE_CHECKING:
    from butlerql.storage.datastores.artifacts.s3_access import S3Access

__all__ = ["ConditionalDelete"]

_ANOTHER = '"00000000000000000000000000000000"'
"""An ETag that no object has."""

_log = logging.getLogger(__name__)


class ConditionalDelete:
    """Removes objects of a bucket by ``DELETE`` with ``If-Match``.

    Source: Amazon's reference of DeleteObject; Ceph has it as well. Others leave the condition out of account, which
    `is_honoured` finds out.

    Parameters
    ----------
    access
        How the object store is reached.
    bucket
        Its name.
    prefix
        What paths are relative to, without slashes around it.
    """

    def __init__(self, access: S3Access, bucket: str, prefix: str) -> None:
        self._access = access
        self._bucket = bucket
        self._prefix = prefix
        self._honoured: bool | None = None

    def delete(self, path: str, etag: str) -> str | None:
        """Remove an object.

        Returns
        -------
        problem
            None if it is gone; ``412`` if it is another one, else the status, or another word, of what went wrong.
        """
        try:
            self._client.delete_object(Bucket=self._bucket, Key=self._key(path), IfMatch=etag)
        except self._errors as error:
            response = getattr(error, "response", None) or {}
            return str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "no answer"))
        return None

    def is_honoured(self) -> bool:
        """Find out whether the condition counts, with an object that is made for it and removed again.

        Raises
        ------
        UnavailableDatastoreError
            Raised if objects cannot be written and removed from here.
        """
        if self._honoured is None:
            self._honoured = self._try()
        return self._honoured

    def _try(self) -> bool:
        key = self._key(f".butlerql-probe-{uuid.uuid4().hex}")
        try:
            etag = self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")["ETag"]
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key, IfMatch=_ANOTHER)
            except self._errors as error:
                response = getattr(error, "response", None) or {}
                honoured: bool = response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412
            else:
                honoured = False
            if honoured:
                self._client.delete_object(Bucket=self._bucket, Key=key, IfMatch=etag)
            else:
                self._client.delete_object(Bucket=self._bucket, Key=key)
        except self._errors as error:
            _log.warning("An object could not be written to and removed from s3://%s: %s", self._bucket, error)
            raise UnavailableDatastoreError(
                f"Nothing can be removed from s3://{self._bucket}/ from here: an object of our own could not be "
                "written, or not be removed again."
            ) from None
        return honoured

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    @cached_property
    def _errors(self) -> tuple[type[Exception], ...]:
        from botocore.exceptions import BotoCoreError, ClientError

        return BotoCoreError, ClientError

    @cached_property
    def _client(self) -> Any:
        try:
            from botocore.config import Config
            from botocore.session import Session
        except ImportError:
            raise UnavailableDatastoreError(
                "Objects can be removed only with botocore, which is not installed: pip install 'butlerql[s3]'."
            ) from None
        keys = self._access.keys
        return Session().create_client(
            "s3",
            endpoint_url=self._access.endpoint,
            region_name=self._access.region or "us-east-1",
            aws_access_key_id=None if keys is None else keys.access_key,
            aws_secret_access_key=None if keys is None else keys.secret_key,
            aws_session_token=None if keys is None else keys.session_token,
            config=Config(
                max_pool_connections=32,
                connect_timeout=5,
                read_timeout=60,
                retries={"total_max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path"},
            ),
        )
