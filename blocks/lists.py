"""Lists, saved as Prefect blocks."""

from prefect.blocks.core import Block
from pydantic import HttpUrl

from clarion.models import lists

_DOCUMENTATION = HttpUrl("https://github.com/clarion/clarion/blob/main/README.md")


class FileList(Block, lists.FileList):
    """A list kept in a file: one item a row.

    Example:
        ```python
        from blocks.lists import FileList

        file_list = FileList.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "File List"
    _block_type_slug = "file-list"
    _documentation_url = _DOCUMENTATION


class ItemsList(Block, lists.ItemsList):
    """A list written in place: a few items with any attributes.

    Example:
        ```python
        from blocks.lists import ItemsList

        items_list = ItemsList.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Items List"
    _block_type_slug = "items-list"
    _documentation_url = _DOCUMENTATION
