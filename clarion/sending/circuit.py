"""The circuit: provider failures in a row, after which a run is paused and burns no more tries."""

from collections import Counter

from clarion.sending.verdict import Verdict

_CLIENT_ERROR = 400


class Circuit:
    """Counts the calls in a row that the provider failed; to be used from one thread.

    A provider failure is a call that found no provider, one without an answer, and a status code that asks
    for another try. A success or the refusal of one recipient shows that the provider works, and ends the
    row. What says nothing of that leaves it as it is: throttling, and an answer whose body asks for patience.

    Args:
        threshold: Failures in a row that break it, at least 1; None for never.
    """

    def __init__(self, threshold: int | None) -> None:
        self._threshold = threshold
        self._row = 0
        self.burned: Counter[int] = Counter()
        """Tries that the row has used up, by run item; not those that are unknown, which may have arrived."""
        self.reason: str | None = None
        """Why the run is to be paused; None while the circuit holds."""

    def take_burned(self) -> dict[int, int]:
        """The burned tries, to be given back; handed out once, and none while the circuit holds."""
        burned = dict(self.burned) if self.broken else {}
        self.burned.clear()
        return burned

    @property
    def broken(self) -> bool:
        """Whether the run is to be paused."""
        return self.reason is not None

    def record(self, item_id: int, verdict: Verdict) -> bool:
        """Takes in a call; whether the circuit broke by it. Calls that end after that count as burned too.

        Args:
            item_id: The run item.
            verdict: On its call, without secrets: its error is told.
        """
        if self._threshold is None:
            return False
        if verdict.answered and verdict.outcome in {"succeeded", "refused"} and not self.broken:
            self._row = 0
            self.burned.clear()
        if not _is_failure(verdict):
            return False
        self._row += 1
        if verdict.outcome == "retry":
            self.burned[item_id] += 1
        if self.broken or self._row < self._threshold:
            return False
        self.reason = f"{self._row} provider errors in a row: {_told(verdict)}"
        return True


def _is_failure(verdict: Verdict) -> bool:
    if verdict.outcome == "unknown":
        return True
    return verdict.outcome == "retry" and (
        verdict.status_code is None or verdict.status_code >= _CLIENT_ERROR
    )


def _told(verdict: Verdict) -> str:
    if verdict.status_code is None:
        return verdict.error or verdict.error_code or "no answer"
    status = f"status {verdict.status_code}"
    return f"{status}, {verdict.error}" if verdict.error else status
