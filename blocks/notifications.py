"""Prefect's own notification blocks (Slack, Teams, e-mail, ...), by which a run tells people of itself."""

import prefect.blocks.notifications  # noqa: F401  # its block types are only known once it is imported
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from blocks.documents import prefect_client
from clarion.errors import JobError


def load_notifier(reference: str) -> NotificationBlock:
    """The saved notification block of a reference such as `slack-webhook/alerts`.

    Raises:
        JobError: Nothing is saved there, or it is no notification block.
        SettingError: Prefect's API cannot be used.
    """
    with prefect_client():
        try:
            block = Block.load(reference)
        except (ValueError, RuntimeError):  # not saved, or of a type that nobody has imported
            block = None
    if not isinstance(block, NotificationBlock):
        raise JobError(
            f"{reference} is no saved notification block",
            where="notify",
            expected="one of Prefect's, saved in its UI under Blocks: slack-webhook/NAME",
        )
    return block
