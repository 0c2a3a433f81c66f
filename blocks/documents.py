"""Saved blocks, read and written by reference (`http-action/send-sms`), every failure as Clarion's own."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from clarion.errors import JobError, SettingError, nearest

_NAME = re.compile(r"[a-z0-9-]+")


@contextmanager
def prefect_client() -> Generator[SyncPrefectClient]:
    """A client of Prefect's API; usable with and without a running event loop.

    Raises:
        SettingError: The API does not answer, or refuses this client.
    """
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as exc:
        raise _unreachable("does not answer") from exc
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code not in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise
        raise SettingError(
            "Prefect's API refuses this client",
            where="PREFECT_API_AUTH_STRING",
            expected="the value of the server's PREFECT_SERVER_API_AUTH_STRING",
        ) from exc


def _unreachable(problem: str) -> SettingError:
    return SettingError(
        f"Prefect's API at {PREFECT_API_URL.value()} {problem}",
        where="PREFECT_API_URL",
        expected="the address of a running server (prefect server start), or unset for a local one",
    )


def document_data(block_type: type[Block], name: str, *, save_with: str) -> dict[str, Any]:
    """The fields of a saved block, its secrets included.

    Args:
        block_type: Type of the block.
        name: Name of the saved block.
        save_with: Command that saves such a block, told where there is none.

    Raises:
        JobError: No block of this type is saved under the name.
        SettingError: Prefect's API cannot be used.
    """
    slug = block_type.get_block_type_slug()
    with prefect_client() as client:
        try:
            document = client.read_block_document_by_name(name=name, block_type_slug=slug)
        except ObjectNotFound:
            names = saved_names(block_type)
        else:
            return dict(document.data)
    raise JobError(
        f"no block {slug}/{name} is saved",
        expected=f"one that exists; `{save_with}` saves it",
        nearest=nearest(f"{slug}/{name}", [f"{slug}/{each}" for each in names]),
    )


def saved_names(block_type: type[Block]) -> list[str]:
    """The names of all saved blocks of a type, sorted; none where the type was never registered."""
    return [document.name or "" for document in saved_documents(block_type)]


def saved_documents(block_type: type[Block]) -> list[BlockDocument]:
    """All saved blocks of a type without their secrets, by name; none where the type was never registered."""
    slug = block_type.get_block_type_slug()
    with prefect_client() as client:
        try:  # the server gives all documents at once, whatever offset and limit say
            documents = client.read_block_documents_by_type(slug, include_secrets=False)
        except PrefectHTTPStatusError as exc:
            if exc.response.status_code == httpx.codes.NOT_FOUND:  # the type was never registered
                return []
            raise
    return sorted(documents, key=lambda document: document.name or "")


def check_name(block_type: type[Block], name: str, *, replace: bool) -> bool:
    """Whether a block may be saved under a name.

    Args:
        block_type: Type of the block.
        name: Name to save it under.
        replace: Whether a saved block of this name may be replaced.

    Returns:
        Whether the name is new.

    Raises:
        JobError: The name is taken, or is none that Prefect takes.
        SettingError: Prefect's API cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise JobError(
            f"{name!r} is no name of a saved block",
            where="name",
            expected="lower-case letters, digits and dashes",
            nearest=document_name(name) or None,
        )
    taken = name in saved_names(block_type)
    if taken and not replace:
        raise JobError(
            f"a block {block_type.get_block_type_slug()}/{name} is saved already",
            expected="another name, or --replace",
        )
    return not taken


def save_document(block: Block, name: str, *, replace: bool) -> bool:
    """Saves a block, and its type where that is new. Takes, returns and raises as `check_name`."""
    new = check_name(type(block), name, replace=replace)
    with prefect_client():
        block.save(name, overwrite=replace)
    return new


def delete_document(block_type: type[Block], name: str) -> None:
    """Deletes the block saved under a name.

    Raises:
        JobError: No block of this type is saved under the name.
        SettingError: Prefect's API cannot be used.
    """
    slug = block_type.get_block_type_slug()
    with prefect_client() as client:
        try:
            document = client.read_block_document_by_name(name=name, block_type_slug=slug)
        except ObjectNotFound:
            raise JobError(f"no block {slug}/{name} is saved") from None
        client.delete_block_document(document.id)


def document_name(text: str) -> str:
    """The name that Prefect takes nearest to a text: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
