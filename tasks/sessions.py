"""A worker process's part in runs: one sender, one session a run, shared by the task runs in it.

The process of a flow has its session from the flow, and may have sender processes that send in its place. In
a process of a cluster nobody opens or closes one: it visits the run for as long as slices are at work in it.
"""

import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

import httpx

from blocks.credentials import load_credentials
from blocks.notifications import load_notifier
from clarion.campaign import Campaign
from clarion.compiling import compile_job
from clarion.errors import JobError, SettingError
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database, database_url
from clarion.ledger.items import run_list_frames
from clarion.ledger.limits import limit_key
from clarion.ledger.managed_lists import managed_list_frames
from clarion.ledger.named_limits import NamedLimit
from clarion.ledger.runs import REACTIONS, RunRecord, find_run
from clarion.ledger.suppressions import scopes_for_plan
from clarion.links.making import check_links
from clarion.models.credential_kinds import dummy_credentials, split_reference
from clarion.models.credentials import ApiKey
from clarion.models.job import Job
from clarion.optout import check_settings as check_opt_outs
from clarion.reactions import reactions_campaign
from clarion.sending.auth import RequestAuth
from clarion.sending.sender import Sender, SliceResult
from clarion.sending.session import Mask, RunSession
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit
from clarion.sources import ListReader
from tasks.processes import ProcessLostError, SenderProcesses
from tasks.visits import Visit

CONNECTIONS_SETTING = "CLARION_CONNECTIONS"
DEFAULT_CONNECTIONS = 64

_lock = threading.Lock()
_sessions: dict[tuple[str, str], RunSession] = {}
_processes: dict[tuple[str, str], SenderProcesses] = {}
_visits: dict[tuple[str, str], Visit] = {}


def connections() -> int:
    """Most requests of a process on their way at once: CLARION_CONNECTIONS, else 64.

    Raises:
        SettingError: The setting is no whole number from 1 to 256.
    """
    given = os.environ.get(CONNECTIONS_SETTING, str(DEFAULT_CONNECTIONS))
    if given.isdecimal() and 1 <= int(given) <= 256:  # noqa: PLR2004
        return int(given)
    raise SettingError(
        f"{given!r} is not valid", where=CONNECTIONS_SETTING, expected="a whole number from 1 to 256"
    )


@cache
def database_at(url: str) -> Database:
    """The process's one engine for a database."""
    return Database(url)


def ledger() -> Database:
    """The ledger that the settings name."""
    return database_at(database_url())


@cache
def _sender_at(url: str, most: int) -> Sender:
    return Sender(database_at(url), wire=lambda: Wire(max_connections=most), connections=most)


def sender() -> Sender:
    """The process's one sender for the ledger that the settings name."""
    return _sender_at(database_url(), connections())


def compiled(run: RunRecord) -> Campaign:
    """The campaign of a run's own snapshot; of a run of reactions, its handlers are the segments."""
    campaign = compile_job(Job.model_validate_json(run.job))
    return reactions_campaign(campaign) if run.kind == REACTIONS else campaign


def session_of(run_uid: str) -> RunSession:
    """This process's session of a run, opened when it is first asked for.

    One that was left stays: a slice that comes late, after Prefect's wait for a retry, finds it halted.
    """
    with _lock:
        return _sessions.get((database_url(), run_uid)) or _open(run_uid)


def open_session(run_uid: str) -> RunSession:
    """A session of a run that may send, a new one where the last was halted."""
    with _lock:
        session = _sessions.get((database_url(), run_uid))
        return _open(run_uid) if session is None or session.halted.is_set() else session


def start_processes(run_uid: str, count: int) -> None:
    """Has a run's slices sent by so many sender processes from now on, until the run is left."""
    if (database_url(), run_uid) not in _processes:
        _processes[database_url(), run_uid] = SenderProcesses(run_uid, count)


@contextmanager
def session_at_work(run_uid: str) -> Generator[RunSession]:
    """The session for a slice: the flow's own, where the flow is in this process, else one of a visit."""
    key = database_url(), run_uid
    with _lock:
        session, visit = _sessions.get(key), _visits.get(key)
        if session is None:
            if visit is None or not visit.join():
                visit = _visits[key] = Visit(sender(), _opened(run_uid), ledger())
            session = visit.session
    try:
        yield session
    finally:
        if visit is not None:
            visit.end()


def deliver_slice(session: RunSession, part: Slice) -> SliceResult:
    """Sends what is due of a slice, in a sender process where the run has any; as `Sender.deliver` does."""
    processes = _processes.get((database_url(), session.run.uid))
    if processes is not None and not session.halted.is_set():
        try:
            return processes.deliver(part)
        except ProcessLostError:
            if not session.halted.is_set():
                raise
    return sender().deliver(session, part)  # a halted one only tells what is left


def _open(run_uid: str) -> RunSession:
    session = _sessions[database_url(), run_uid] = _opened(run_uid)
    return session


def _opened(run_uid: str) -> RunSession:
    run = find_run(ledger(), run_uid)
    campaign = compiled(run)
    return sender().open(
        run,
        campaign,
        auths=_auths(campaign, run),
        limits=limits_of(campaign, run),
        masks={} if run.against else _masks(campaign),
    )


@contextmanager
def own_session(run_uid: str) -> Generator[RunSession]:
    """A session of a run that nobody else in this process works on. At the end it is left, and forgotten."""
    session = _opened(run_uid)
    try:
        yield session
    finally:
        sender().leave(session)


def halt(run_uid: str, control: str) -> None:
    """Sends nothing more of a run from here, because of what a person asked for."""
    session = _sessions.get((database_url(), run_uid))
    processes = _processes.get((database_url(), run_uid))
    if session is not None:
        sender().halt(session, control)
    if processes is not None:
        processes.halt(control)


def leave(run_uid: str, *, patiently: bool = False) -> None:
    """Leaves a run: gives back what is unsent, waits for answers on their way, 8 s or patiently."""
    session = _sessions.get((database_url(), run_uid))
    processes = _processes.pop((database_url(), run_uid), None)
    try:
        if processes is not None and patiently:
            processes.drain()
        if session is not None:
            _leave_session(session, patiently=patiently)
    finally:
        if processes is not None:
            processes.leave()


def _leave_session(session: RunSession, *, patiently: bool) -> None:
    if patiently:
        sender().drain(session)
    sender().leave(session)


def limits_of(campaign: Campaign, run: RunRecord) -> dict[str, Limit]:
    """What paces each action: a saved one by its block, an inline one by job and name; a rehearsal apart."""
    return {
        name: Limit(
            key=limit_key(job_name=campaign.job.name, action=name, against=run.against),
            tps=action.action.tps,
            named=tuple(
                NamedLimit(
                    name=limit.name,
                    tps=limit.tps,
                    concurrency=limit.concurrency,
                    keyed=limit.key is not None,
                )
                for limit in action.action.limits
            ),
        )
        for name, action in campaign.actions.items()
    }


def list_reader(job: Job, *, base: Path | None = None) -> ListReader:
    """Reads a job's lists; relative paths start from `base`, else from the working folder."""
    database = ledger()
    return ListReader(
        base=base or Path.cwd(),
        run_items=partial(run_list_frames, database, job_name=job.name),
        managed_items=partial(managed_list_frames, database),
        suppressions=partial(scopes_for_plan, database),
    )


def masked_auths(campaign: Campaign) -> tuple[dict[str, RequestAuth], list[str]]:
    """The credentials of each action, every secret as `****`; and the references that are saved nowhere.

    Those are shown as credentials of their kind look: a preview is what one wants before saving them.
    """
    references = _references(campaign)
    auths: dict[str, RequestAuth] = {}
    missing: list[str] = []
    for reference in sorted(set(references.values())):
        try:
            auths[reference] = load_credentials(reference).masked_auth()
        except JobError:
            auths[reference] = dummy_credentials(reference).masked_auth()
            missing.append(reference)
    return {name: auths[reference] for name, reference in references.items()}, missing


def check_job(job: Job, *, against: str | None) -> None:
    """Finds what is wrong with a job before a run of it is created: nothing of its lists' rows is judged.

    Args:
        job: The job, saved actions resolved.
        against: Where a rehearsal would send to.

    Raises:
        InputError: A template, a condition, an attribute, a list, credentials, the address or a setting of
            links or opt-outs is not valid.
    """
    if against is not None:
        check_address(against)
    campaign = compile_job(job)
    check_opt_outs()
    if against is None:
        check_links(job)
        for reference in _references(campaign).values():
            load_credentials(reference)
        for subscriber in job.webhooks:
            load_credentials(subscriber.secret)
        if job.notify is not None:
            load_notifier(job.notify)
    else:
        for reference in _references(campaign).values():
            split_reference(reference)
    list_reader(job).check(campaign)


def _made_up(reference: str) -> RequestAuth:
    """Credentials for a rehearsal.

    Saved API keys keep their fields and their place, so that the request is the real one but for `****`; of
    the other kinds every request looks the same.
    """
    if split_reference(reference)[0] == ApiKey.kind:
        with suppress(JobError):
            return load_credentials(reference).masked_auth()
    return dummy_credentials(reference).auth()


def check_address(against: str) -> None:
    """Whether a rehearsal can send there.

    Raises:
        SettingError: It is no http or https address.
    """
    try:
        url = httpx.URL(against)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.userinfo:
        raise SettingError("holds a password", where="against", expected="http://HOST[:PORT]")
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingError(f"{against!r} is no address", where="against", expected="http://HOST[:PORT]")


def _references(campaign: Campaign) -> dict[str, str]:
    """The credentials that the actions of the segments and of their fallback steps name."""
    return {
        name: action.action.credentials
        for name, action in campaign.actions.items()
        if name in campaign.used_actions and action.action.credentials is not None
    }


def _masks(campaign: Campaign) -> dict[str, Mask]:
    """What takes the secrets of each action's credentials out of a text."""
    return {name: load_credentials(each).mask for name, each in _references(campaign).items()}


def _auths(campaign: Campaign, run: RunRecord) -> Mapping[str, RequestAuth]:
    references = _references(campaign)
    load = _made_up if run.against else lambda reference: load_credentials(reference).auth()
    found = {reference: load(reference) for reference in set(references.values())}
    return {name: found[reference] for name, reference in references.items()}
