"""Where a token leads: read from the run's own job once, and known from then on."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

import orjson

from clarion.ledger.clicks import run_document
from clarion.ledger.database import Database
from clarion.links.locations import location_of
from clarion.links.stems import find_links, stem_codes
from clarion.links.tokens import LinkToken
from clarion.templating.links import Stem

MOST_RUNS = 1_000
NO_LINKS: Mapping[bytes, Stem] = MappingProxyType({})


class Destinations:
    """The links of the runs that were asked for last; only the first click of a run reads the ledger.

    Args:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs: OrderedDict[int, Mapping[bytes, Stem]] = OrderedDict()

    async def stem(self, token: LinkToken) -> Stem | None:
        """What the code of a token stands for; None where the run has no such link."""
        stems = self._runs.get(token.run_id)
        if stems is None:
            stems = self._runs[token.run_id] = await asyncio.to_thread(self._read, token.run_id)
        self._runs.move_to_end(token.run_id)
        if len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return stems.get(token.code)

    def _read(self, run_id: int) -> Mapping[bytes, Stem]:
        found = run_document(self._database, run_id)
        if found is None:
            return NO_LINKS
        uid, job = found
        codes = stem_codes(find_links(orjson.loads(job)).stems, run_uid=uid)
        return {code: stem for stem, code in codes.items()}


def target(stem: Stem, token: LinkToken, *, text: str) -> str:
    """The URL that a link leads to, all ASCII.

    Args:
        stem: What the token's code stands for.
        token: The link.
        text: The token as it came: handed on to the page where the template asks for that.
    """
    url = location_of(stem.prefix + token.rest)
    return _with_parameter(url, stem.click_id, text) if stem.click_id else url


def _with_parameter(url: str, name: str, value: str) -> str:
    scheme, host, path, query, fragment = urlsplit(url)
    joined = f"{query}&{name}={value}" if query else f"{name}={value}"
    return urlunsplit((scheme, host, path, joined, fragment))
