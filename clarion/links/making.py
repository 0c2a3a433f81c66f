"""Making the links of a run while its messages are rendered."""

import os
import re
from typing import Any

import orjson

from clarion.errors import RenderError, SettingError
from clarion.links.locations import check_destination
from clarion.links.stems import find_links, run_code, stem_codes
from clarion.links.tokens import LinkToken, Signer, UnsubscribeToken
from clarion.models.job import Job
from clarion.templating.links import LINK, Stem

LINK_BASE_URL_SETTING = "CLARION_LINK_BASE_URL"
REHEARSAL_BASE_URL = "http://127.0.0.1:8085"
"""Where links of previews and rehearsals lead to without the setting: `clarion serve` on this machine."""

LINK_PURPOSE, UNSUBSCRIBE_PURPOSE = "link", "unsubscribe"

PREVIEW_RUN_ID = (1 << 14) - 1
PREVIEW_ITEM_ID = 1 << 27
"""Numbers that make the links of a preview as long as those of a large installation."""

_PREVIEW_KEY = b"preview"
"""A preview shows what anybody may see, and leaves no key behind."""

_BASE_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", re.ASCII)


def link_base_url(*, rehearsal: bool) -> str:
    """CLARION_LINK_BASE_URL without a slash at its end: what every link begins with.

    Args:
        rehearsal: Whether nobody but us will follow the links.

    Raises:
        SettingError: It is not set, and this is no rehearsal; or it is no URL.
    """
    given = os.environ.get(LINK_BASE_URL_SETTING)
    if not given and rehearsal:
        return REHEARSAL_BASE_URL
    if given and _BASE_URL.fullmatch(given):
        return given.rstrip("/")
    problem = f"{given!r} is not valid" if given else "is not set, and the job's messages have links"
    raise SettingError(
        problem,
        where=LINK_BASE_URL_SETTING,
        expected="the public address of `clarion serve`, as https://go.example.com",
    )


class LinkMaker:
    """Makes the links of one run.

    Args:
        document: The job as the run keeps it, plain JSON data: who follows a link reads it there again.
        run_id: The run's key in the ledger.
        run_uid: The run's id.
        base_url: What the links begin with.
        key: What they are signed with; None for the installation's secret key.
    """

    def __init__(
        self, document: Any, *, run_id: int, run_uid: str, base_url: str, key: bytes | None = None
    ) -> None:
        self._run_id = run_id
        self._codes = stem_codes(find_links(document).stems, run_uid=run_uid)
        self._run_code = run_code(run_uid)
        self._links = Signer(LINK_PURPOSE, key=key)
        self._unsubscribes = Signer(UNSUBSCRIBE_PURPOSE, key=key)
        self._link_base, self._unsubscribe_base = f"{base_url}/l/", f"{base_url}/u/"

    def of_item(self, run_item_id: int, *, step: int = 0) -> "ItemLinks":
        """What makes the links of one message; the same ones for each try."""
        return ItemLinks(self, run_item_id, step)

    def link(self, run_item_id: int, step: int, url: str, stem: Stem) -> str:
        """The short URL that leads to `url`.

        Raises:
            RenderError: `url` is none that a browser could be sent to, or of no template of the job.
        """
        check_destination(url)
        if not url.startswith(stem.prefix):  # escaped for HTML, for example
            stem = stem._replace(prefix="")
        code = self._codes.get(stem)
        if code is None:
            raise RenderError("the link is in no template of the run's job")
        rest = url[len(stem.prefix) :]
        token = LinkToken(run_id=self._run_id, run_item_id=run_item_id, code=code, rest=rest, step=step)
        return self._link_base + self._links.token(token.packed())

    def unsubscribe_link(self, run_item_id: int, step: int, scope: str) -> str:
        """The URL of the unsubscribe page for the recipient of a step."""
        token = UnsubscribeToken(
            run_id=self._run_id, run_item_id=run_item_id, code=self._run_code, step=step, scope=scope
        )
        return self._unsubscribe_base + self._unsubscribes.token(token.packed())


class ItemLinks:
    """Makes the links of one message."""

    __slots__ = ("_maker", "_run_item_id", "_step")

    def __init__(self, maker: LinkMaker, run_item_id: int, step: int) -> None:
        self._maker = maker
        self._run_item_id = run_item_id
        self._step = step

    def link(self, url: str, stem: Stem) -> str:
        """The short URL that leads to `url`."""
        return self._maker.link(self._run_item_id, self._step, url, stem)

    def unsubscribe_link(self, scope: str) -> str:
        """The URL of the recipient's unsubscribe page."""
        return self._maker.unsubscribe_link(self._run_item_id, self._step, scope)


def link_maker(job: str, *, run_id: int, run_uid: str, rehearsal: bool) -> LinkMaker | None:
    """What makes a run's links; None where its messages have none.

    Args:
        job: The job as the run keeps it.
        run_id: The run's key in the ledger.
        run_uid: The run's id.
        rehearsal: Whether nobody but us will follow the links.

    Raises:
        SettingError: The job has links, and the setting of their address or the secret key is missing.
    """
    document = _with_links(job)
    if document is None:
        return None
    base_url = link_base_url(rehearsal=rehearsal)
    return LinkMaker(document, run_id=run_id, run_uid=run_uid, base_url=base_url)


def preview_links(job: Job) -> LinkMaker | None:
    """What makes links that look and count like those of a run, and lead nowhere; None where there are none.

    Raises:
        SettingError: The job has links, and the setting of their address is no address.
    """
    document = _with_links(job.model_dump_json())
    if document is None:
        return None
    base_url = link_base_url(rehearsal=True)
    return LinkMaker(document, run_id=PREVIEW_RUN_ID, run_uid="", base_url=base_url, key=_PREVIEW_KEY)


def check_links(job: Job) -> None:
    """Whether the links that a job's messages have can be made.

    Raises:
        SettingError: The setting of their address, or the secret key, is missing or not valid.
    """
    link_maker(job.model_dump_json(), run_id=PREVIEW_RUN_ID, run_uid="", rehearsal=False)


def _with_links(job: str) -> Any:
    """The job as plain JSON data; None where its messages have no links."""
    document = orjson.loads(job) if LINK in job else None
    return document if document is not None and find_links(document).any else None
