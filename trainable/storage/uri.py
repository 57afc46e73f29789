"""Parts of the URIs that name storages, and what of them may be shown: no keys and no passwords.

People write keys as they were given to them. One with an unescaped `/`, `?`, `#` or `@` makes a URI that cannot be
read, or that means something else; it must not be printed all the same, least of all in the error that says so.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"]*)")
"""A URI in a text, which ends at a blank or a quote."""

_ONE_URI = re.compile(r"((?:--[\w-]+=)?)([A-Za-z][A-Za-z0-9+.-]*)://((?:(?!: ).)*)", re.DOTALL)
"""A text that is a URI alone, perhaps after its flag, and may hold any character. Messages have a colon and a blank."""

_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_ESCAPED = re.compile(r"[^/?#@\s\[\]]*@")
"""Credentials as a URI has them."""

_BUCKETS = ("s3", "gs", "gcs")
"""Schemes whose host is a bucket's name, without a port."""

_SECRET_NAMES = re.compile(
    r"secret|passw(or)?d|pwd|token|signature|credentials?$|key(_?id)?$|(^|[-_.])(sig|sas)$", re.IGNORECASE
)
"""Names of a query's parameters that hold keys, pyarrow's and those of signed addresses."""


@dataclass(frozen=True)
class UriParts:
    """What a URI consists of, each part as it is written; together they are the URI."""

    scheme: str
    credentials: str
    """With the `@` at its end, or empty. Where there is a password, to the last `@` of all: it may hold others."""
    host: str
    """A bucket, or a machine with its port."""
    path: str
    """Empty, or from its `/` on. A `#` is part of it."""
    query: str
    """Empty, or from its `?` on."""

    @classmethod
    def of(cls, uri: str) -> Self:
        """Takes any text apart that has a `://`."""
        scheme, _, rest = uri.partition("://")
        end = _end_of_credentials(scheme.lower(), rest)
        address, mark, query = rest[end:].partition("?")
        host, slash, path = address.partition("/")
        return cls(scheme, rest[:end], host, slash + path, mark + query)

    def without_secrets(self) -> str:
        """The URI without what must not be shown."""
        # A bucket of S3 has no user beside the key; elsewhere it may name the container.
        user = "" if self.scheme.lower() == "s3" else self.credentials.removesuffix("@").partition(":")[0]
        at = "@" if user and self.credentials.endswith("@") else ""
        parameters = [
            parameter
            for parameter in self.query[1:].split("&")
            if parameter and not _SECRET_NAMES.search(unquote(parameter.partition("=")[0]))
        ]
        query = f"?{'&'.join(parameters)}" if parameters else ""
        return f"{self.scheme}://{user}{at}{self.host}{self.path}{query}"


def is_uri(storage: str) -> bool:
    """Whether a storage is a URI, not a folder's path."""
    return "://" in storage


def without_secrets(text: str) -> str:
    """A URI, or a text with URIs in it, without the keys and passwords that a URI can hold.

    What is then missing comes from the environment.
    """
    shown = _without_what_looks_secret(text)
    # What is left of a text that is hardly a URI may look like a key for its part.
    return shown if shown == text else without_secrets(shown)


def _without_what_looks_secret(text: str) -> str:
    if alone := _ONE_URI.fullmatch(text):
        flag, scheme, rest = alone.groups()
        return flag + UriParts.of(f"{scheme}://{rest}").without_secrets()
    return _URI.sub(lambda found: UriParts.of(found[0]).without_secrets(), text)


def unescaped_secret(uri: str) -> str | None:
    """What is wrong with a URI whose key or password cannot be told from the rest of it; None where nothing is."""
    credentials = UriParts.of(uri).credentials
    if not credentials or _ESCAPED.fullmatch(credentials):
        return None
    return (
        "in a URI, a key or password has %2F for /, %3F for ?, %23 for #, %40 for @ and %20 for a blank, and beside "
        "one the rest has %40 for @; or leave it out, and it is taken from the environment"
    )


def _end_of_credentials(scheme: str, rest: str) -> int:
    """Up to where what follows the `://` is a user, a key or a password."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.partition("@")
    if at and ":" not in user:
        return len(user) + 1
    if not at and _is_host(scheme, authority, followed_by_at="@" in rest):
        return 0
    return rest.rfind("@") + 1 or len(rest)


def _is_host(scheme: str, authority: str, followed_by_at: bool) -> bool:
    """Whether this is a host with or without a port, and not a user and the first part of a key."""
    if ":" not in authority:
        return True
    host_and_port = _HOST_AND_PORT.fullmatch(authority)
    if not host_and_port or scheme in _BUCKETS:
        return False
    # The name of a container or an account has no dot; that of a machine mostly has.
    is_machine = not scheme.startswith("abfs") or "." in host_and_port[1] or host_and_port[1] == "localhost"
    return is_machine or not followed_by_at
