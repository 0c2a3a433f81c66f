"""`clarion serve` in a process of its own: links, the unsubscribe page, conversions beside the webhooks."""

import json
import signal
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from blocks.documents import save_document
from blocks.webhook_credentials import GenericWebhook
from clarion.conversions.routes import REFERENCE
from clarion.ledger.database import Database
from clarion.templating.links import Stem
from tests.integration.ledger_databases import SqliteFiles
from tests.integration.link_servers import URL, events_of, item_ids, linked_run, links_of
from tests.integration.serving import serving, settings

TOKEN = "a-bearer-token"


def test_serve_has_links_the_page_and_conversions(prefect_server: None, sqlite: SqliteFiles, tmp_path: Path):
    """A click, a conversion by its token, and a goodbye; no token of theirs is in the log."""
    save_document(GenericWebhook(token=SecretStr(TOKEN)), REFERENCE.rpartition("/")[2], replace=True)
    url = sqlite.migrated()
    with Database(url) as database:
        run = linked_run(database)
        links = links_of(run, *item_ids(database, run), base_url="")
        link, page = links.link(URL, Stem("offer", URL)), urlsplit(links.unsubscribe_link("job")).path
        env = settings(tmp_path, url)
        with serving("--no-handle", "--endpoint", REFERENCE, env=env) as server:
            assert server.told["endpoints"] == [
                {"endpoint": REFERENCE, "url": f"{server.told['url']}/conversions", "open": False}
            ]
            assert server.client.get(link, headers={"user-agent": "Mozilla/5.0"}).headers["location"] == URL
            told = {"event_id": "order-1", "click": link.rpartition("/")[2]}
            headers = {"authorization": f"Bearer {TOKEN}"}
            answer = server.client.post("/conversions", json=told, headers=headers)
            assert answer.json() == {"new": True, "attributed_by": "click"}
            assert server.client.post("/webhooks/" + REFERENCE, json={}, headers=headers).status_code == 404
            assert server.client.post(page).status_code == 200
            code, lines = server.leave(signal.SIGTERM)
        counted = {
            kind: len(events_of(database, "id", kind=kind)) for kind in ("click", "conversion", "unsubscribe")
        }
    assert code == 0
    assert counted == {"click": 1, "conversion": 1, "unsubscribe": 1}
    assert [json.loads(line)["path"] for line in lines] == ["/l/{token}", "/conversions", None, "/u/{token}"]
    assert link.rpartition("/")[2] not in "\n".join(lines)
