"""The flow run of Prefect's behind a run of the ledger."""

from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from blocks.documents import prefect_client
from clarion.ledger.runs import RunRecord


@contextmanager
def flow_run_of(run: RunRecord) -> Generator[tuple[SyncPrefectClient | None, FlowRun | None]]:
    """Prefect's flow run that worked on a run last, and a client; two Nones where there is none.

    Raises:
        SettingError: Prefect's API cannot be used.
    """
    if run.flow_run_id is None:
        yield None, None
        return
    with prefect_client() as client:
        try:
            found = client.read_flow_run(UUID(run.flow_run_id))
        except ObjectNotFound:
            found = None
        yield client, found
