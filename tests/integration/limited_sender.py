"""A worker process that sends a run under limits: `python limited_sender.py JSON`."""

import json
import sys

from clarion.compiling import compile_job
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.runs import find_run
from clarion.models.job import Job
from clarion.sending.sender import Sender
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit, NamedLimit


def main() -> None:
    """Says that it is ready, waits to be told to begin, and delivers until nothing is pending."""
    given = json.loads(sys.argv[1])
    database = Database(given["database"])
    run = find_run(database, given["run"])
    sender = Sender(database, wire=lambda: Wire(max_connections=32), connections=32)
    named = tuple(NamedLimit(**limit) for limit in given["named"])
    limits = {"send": Limit(key=given["limit"], tps=given["tps"], named=named)}
    session = sender.open(run, compile_job(Job.model_validate_json(run.job)), auths={}, limits=limits)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    part = Slice(action="send", first_id=0, last_id=2**31)
    while sender.deliver(session, part).pending:
        pass
    sender.leave(session)
    sender.close()
    database.close()


if __name__ == "__main__":
    main()
