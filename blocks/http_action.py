"""Actions, saved as Prefect blocks, for jobs to share."""

from prefect.blocks.core import Block
from pydantic import HttpUrl

from blocks.documents import document_data
from clarion.errors import JobError
from clarion.jobfile import parse_model
from clarion.models.action import Action


class HttpAction(Block, Action):
    """A templated HTTP call: what to send, how fast, how often to try again, and how to read the answer.

    Example:
        ```python
        from blocks.http_action import HttpAction

        http_action = HttpAction.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "HTTP Action"
    _block_type_slug = "http-action"
    _documentation_url = HttpUrl("https://github.com/clarion/clarion/blob/main/README.md")


def load_action(reference: str) -> Action:
    """The saved action of a reference such as `http-action/send-sms`, as a model of the core.

    Raises:
        JobError: The reference is none, nothing is saved there, or what is saved is not valid.
        InputErrors: Several things in it are not valid.
        SettingError: Prefect's API cannot be used.
    """
    kind, _, name = reference.partition("/")
    if kind != "http-action" or not name:
        raise JobError(f"{reference!r} names no saved action", where="action", expected="http-action/NAME")
    data = document_data(HttpAction, name, save_with=f"clarion action save FILE --name {name}")
    return parse_model(Action, data, source=reference)
