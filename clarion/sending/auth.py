"""Credentials on a request: in its headers, its query or its body.

`apply` is the one place where that happens; the `httpx.Auth` around it is for those who send with an
httpx client. Both are safe to share between threads and event loops.
"""

import json
import re
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from urllib.parse import quote_plus, unquote_plus

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clarion.errors import JobError
from clarion.exchange import set_header

RENEWAL_MARGIN_SECONDS = 60
"""How long before its end a token is replaced; a short-lived one is after two thirds of its life."""

MIN_KEY_BITS = 2048
"""RFC 7518, section 3.3: the least that RS256 may be used with."""

_PEM = re.compile(
    r"-----BEGIN (?P<label>[A-Z ]*PRIVATE KEY)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL
)


class RequestAuth(httpx.Auth, ABC):
    """Puts credentials on requests."""

    @abstractmethod
    def apply(self, request: httpx.Request) -> httpx.Request:
        """The request with the credentials on it.

        Args:
            request: A request whose body is in memory. It may be changed in place: use what is returned.

        Raises:
            JobError: The credentials have no place in a request of this kind.
        """

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """One request, with the credentials on it; no second try."""
        yield self.apply(request)


class HeaderAuth(RequestAuth):
    """Credentials that are headers; a header of the same name is replaced."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request with the headers."""
        for name, value in self._headers.items():
            set_header(request, name, value)
        return request


class QueryAuth(RequestAuth):
    """Credentials that are parameters of the URL; a parameter of the same name is replaced."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request with a longer URL; the other parameters stay byte for byte."""
        request.url = request.url.copy_with(query=_with_pairs(request.url.query, self._fields))
        return request


class NoAuth(RequestAuth):
    """No credentials: a rehearsal of what has them in its URL calls the URL of the file."""

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request."""
        return request


class PathAuth(RequestAuth):
    """Credentials that are the path and the query of the URL; those of the action are replaced.

    The host stays the action's, and has to be the one that the credentials are for: nobody posts a secret to
    whichever host a template names.

    Args:
        target: Path and query, percent-encoded.
        host: Where they are valid, as `httpx.URL.netloc` spells it.
    """

    def __init__(self, target: str, *, host: str) -> None:
        self._target = target.encode("ascii")
        self._host = host

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request with the URL's path and query.

        Raises:
            JobError: The action calls another host, or does so without TLS.
        """
        here = request.url.netloc.decode("ascii")
        if here != self._host or request.url.scheme != "https":
            raise JobError(
                f"they are for https://{self._host}, and the action calls {request.url.scheme}://{here}",
                where="credentials",
                expected=f"an action whose url is https://{self._host}",
            )
        request.url = request.url.copy_with(raw_path=self._target)
        return request


class BodyAuth(RequestAuth):
    """Credentials that are fields of a JSON object or of a form; a field of the same name is replaced."""

    requires_request_body = True

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)

    def apply(self, request: httpx.Request) -> httpx.Request:
        """A new request with the longer body.

        Raises:
            JobError: The body is neither a JSON object nor a form.
        """
        headers = request.headers.copy()
        headers.pop("Content-Length", None)  # httpx counts again, but only where no count is given
        return httpx.Request(
            request.method,
            request.url,
            headers=headers,
            content=self._body(request),
            extensions=request.extensions,
        )

    def _body(self, request: httpx.Request) -> bytes:
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type == "application/x-www-form-urlencoded":
            return _with_pairs(request.content, self._fields)
        if media_type == "application/json" or media_type.endswith("+json"):
            return _with_members(request.content, self._fields)
        raise _no_place(f"a body of type {media_type}" if media_type else "a request without a typed body")


class ApplicationTokenAuth(RequestAuth):
    """A signed application token (JWT, RS256) as bearer, made once and renewed before it ends.

    Args:
        application_id: Application that the key belongs to.
        private_key: RSA key that signs.
        lifetime_seconds: From `iat` to `exp`.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        application_id: str,
        private_key: RSAPrivateKey,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._application_id = application_id
        self._private_key = private_key
        self._lifetime_seconds = lifetime_seconds
        self._margin_seconds = min(RENEWAL_MARGIN_SECONDS, lifetime_seconds / 3)
        self._clock = clock
        self._lock = threading.Lock()
        # One tuple, replaced whole: a reader without the lock sees the old token or the new one.
        self._current: tuple[float, float, str] = (0.0, 0.0, "")

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request with the token; signing takes a millisecond, once a lifetime."""
        set_header(request, "Authorization", self._authorization())
        return request

    def _authorization(self) -> str:
        valid, header = self._cached()
        if valid:
            return header
        with self._lock:
            valid, header = self._cached()  # another thread may have renewed it meanwhile
            return header if valid else self._renew()

    def _cached(self) -> tuple[bool, str]:
        issued_at, renew_at, header = self._current
        # Not before its issue either: a clock that was set back would keep a token far past its end.
        return issued_at <= self._clock() < renew_at, header

    def _renew(self) -> str:
        issued_at = int(self._clock())
        expires_at = issued_at + self._lifetime_seconds
        claims = {
            "application_id": self._application_id,
            "iat": issued_at,
            "jti": str(uuid.uuid4()),
            "exp": expires_at,
        }
        header = f"Bearer {jwt.encode(claims, self._private_key, algorithm='RS256')}"
        self._current = (issued_at, expires_at - self._margin_seconds, header)
        return header


def load_private_key(pem: str) -> RSAPrivateKey:
    r"""The RSA key in a PEM text.

    A text whose line ends were lost (pasted into a one-line field) or spelled as `\n` (in an environment
    variable) is read too.

    Raises:
        JobError: It is no unencrypted RSA private key of 2048 bits or more. The key is not in the message.
    """
    found = _PEM.search(pem.replace("\\n", "\n"))
    if found is None:
        raise _bad_key("holds no private key in PEM form")
    label, body = found["label"], "\n".join(re.findall(r".{1,64}", "".join(found["body"].split())))
    text = f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
    try:
        # Not checked for being prime: that takes longer than signing, and a bad key only fails to sign in.
        key = load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise _bad_key("is encrypted") from None
    except ValueError:
        raise _bad_key("is damaged, encrypted or of an unknown kind") from None
    if not isinstance(key, RSAPrivateKey):
        raise _bad_key("is no RSA key")
    if key.key_size < MIN_KEY_BITS:
        raise _bad_key(f"has {key.key_size} bits")
    return key


def _bad_key(problem: str) -> JobError:
    return JobError(
        problem,
        where="private_key",
        expected=f"an unencrypted RSA private key of {MIN_KEY_BITS} bits or more, with BEGIN and END lines",
    )


def _with_pairs(encoded: bytes, fields: Mapping[str, str]) -> bytes:
    """Query or form bytes with the fields at their end, instead of those of the same names."""
    kept = [
        pair
        for pair in encoded.split(b"&")
        if pair and unquote_plus(pair.partition(b"=")[0].decode("ascii", "replace")) not in fields
    ]
    added = [f"{quote_plus(name)}={quote_plus(value)}".encode() for name, value in fields.items()]
    return b"&".join(kept + added)


def _with_members(encoded: bytes, fields: Mapping[str, str]) -> bytes:
    """The bytes of a JSON object with the fields as members."""
    try:
        document = json.loads(encoded)
    except ValueError:
        raise _no_place("a body that is no JSON") from None
    if not isinstance(document, dict):
        raise _no_place("a JSON body that is no object")
    return json.dumps(document | fields, separators=(",", ":")).encode()


def _no_place(body: str) -> JobError:
    return JobError(
        f"there is no place for fields of the body in {body}",
        where="credentials",
        expected="an action whose payload is a mapping, or that has a form; or a location of header or query",
    )
