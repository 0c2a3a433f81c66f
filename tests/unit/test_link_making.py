"""Making the links of a run, and finding again where they lead."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.errors import RenderError, SettingError
from clarion.links.destinations import target
from clarion.links.making import (
    REHEARSAL_BASE_URL,
    LinkMaker,
    check_links,
    link_base_url,
    link_maker,
    preview_links,
)
from clarion.links.stems import find_links, stem_codes
from clarion.links.tokens import LinkToken, Signer, UnsubscribeToken
from clarion.planning import planned_request
from clarion.receiving.server import DEFAULT_PORT
from clarion.rendering import request_scope
from clarion.templating.links import Stem, check_target
from tests.unit.campaigns import RUN, SEND, make_campaign, make_job, plan

BASE = "https://go.example"
URL = "https://shop.example/offer"
TEXT = f'Hi: {{{{ link("{URL}", name="offer") }}}} {{{{ unsubscribe_link(scope="job") }}}}'
ACTION = {"command": SEND["command"] | {"payload": {"text": "{{ template.message }}"}}}


def segments(text: str = TEXT) -> list[dict[str, Any]]:
    """One segment with that message."""
    return [{"name": "all", "action": "send", "template": {"message": text}}]


def maker_of(*texts: str, run_uid: str = "run-1", key: bytes | None = None) -> LinkMaker:
    """What makes the links of a run whose job has these texts."""
    return LinkMaker({"texts": texts}, run_id=3, run_uid=run_uid, base_url=BASE, key=key)


def followed(url: str, *texts: str, run_uid: str = "run-1") -> str | None:
    """Where the link of such a run leads."""
    text = url.removeprefix(f"{BASE}/l/")
    token = LinkToken.unpacked(Signer("link").body(text) or b"")
    assert token is not None
    codes = stem_codes(find_links({"texts": texts}).stems, run_uid=run_uid)
    stem = {code: stem for stem, code in codes.items()}.get(token.code)
    return None if stem is None else target(stem, token, text=text)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='"\\{}%#'))


@given(fixed=words, of_item=words, name=st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_link_leads_where_the_template_said(fixed: str, of_item: str, name: str):
    """Whatever of a URL depends on the item, and whatever is in it, it comes back; all ASCII."""
    text = f'{{{{ link("{URL}/{fixed}" ~ item.x, name="{name}") }}}}'
    stem = Stem(name, f"{URL}/{fixed}")
    made = maker_of(text).of_item(7).link(f"{URL}/{fixed}{of_item}", stem)
    led = followed(made, text)
    assert led is not None
    assert led.isascii()
    if (fixed + of_item).isascii():
        assert led == f"{URL}/{fixed}{of_item}"


def test_link_is_the_same_at_each_try():
    """A message that is sent again has the same link."""
    stem = Stem("offer", URL)
    assert maker_of(TEXT).of_item(7).link(URL, stem) == maker_of(TEXT).of_item(7).link(URL, stem)
    assert maker_of(TEXT).of_item(8).link(URL, stem) != maker_of(TEXT).of_item(7).link(URL, stem)


def test_link_tells_which_step_it_was_in():
    """A fallback has another recipient: a click is of whom the message with the link was for."""
    steps = [maker_of(TEXT).of_item(7, step=step).link(URL, Stem("offer", URL)) for step in (0, 1, 2)]
    for step, made in enumerate(steps):
        token = LinkToken.unpacked(Signer("link").body(made.removeprefix(f"{BASE}/l/")) or b"")
        assert token is not None
        assert (token.step, token.rest, followed(made, TEXT)) == (step, "", URL)


HOSTLESS = (
    "https://[",
    "https://[x]/",
    "https://xn--\u00e4.de/",
    "https://a:b/\u00e4",
    "https://a:b/",
    "https://:80/",
)


@pytest.mark.parametrize("url", HOSTLESS)
def test_link_to_no_host_does_not_render(url: str):
    """Told while the message is made: whoever follows such a link could be sent nowhere."""
    check_target(url)
    for text in (f'{{{{ link("{url}", click_id="c") }}}}', "{{ link(item.url) }}"):
        for stem in find_links([text]).stems:
            with pytest.raises(RenderError, match="host or port"):
                maker_of(text).of_item(7).link(url, stem)


hosts = st.text("ab1.-:[]@%xn\u00e4\u00df\u2102\u200b\uff45", min_size=1, max_size=8)


@given(host=hosts, path=words)
def test_link_that_renders_can_be_followed(host: str, path: str):
    """Whatever a template allows: refused while the message is made, or it leads to an address in ASCII."""
    url, text = f"https://{host}/{path}", '{{ link(item.url, click_id="c") }}'
    [stem] = find_links([text]).stems
    try:
        check_target(url)
        made = maker_of(text).of_item(7).link(url, stem)
    except RenderError:
        return
    led = followed(made, text)
    assert led is not None
    assert led.isascii()


def test_link_of_another_ledgers_run_names_nothing():
    """Two ledgers count their runs alike: a link of the one leads nowhere in the other."""
    made = maker_of(TEXT).of_item(7).link(URL, Stem("offer", URL))
    assert followed(made, TEXT) == URL
    assert followed(made, TEXT, run_uid="run-2") is None


def test_link_hands_its_token_on_where_the_template_asks():
    """The token stands in the query, before the fragment, behind what is there."""
    for url, separator in ((URL, "?"), (f"{URL}?a=1", "&"), (f"{URL}/?", "?")):
        text = f'{{{{ link("{url}#top", click_id="cid") }}}}'
        made = maker_of(text).of_item(7).link(f"{url}#top", Stem("link", f"{url}#top", "cid"))
        token = made.removeprefix(f"{BASE}/l/")
        assert followed(made, text) == f"{url.removesuffix('?')}{separator}cid={token}#top"


def test_link_that_was_escaped_on_its_way_still_leads_there():
    """A URL that no longer begins as the template has it stands in the token as a whole."""
    text = '{{ link("https://a.example/?a=1&c=" ~ item.id) }}'
    url = "https://a.example/?a=1&amp;c=7"
    made = maker_of(text).of_item(7).link(url, Stem("link", "https://a.example/?a=1&c="))
    assert followed(made, text) == url


def test_link_in_no_template_of_the_job_does_not_render():
    """What the run's snapshot does not tell nobody could follow."""
    with pytest.raises(RenderError, match="no template of the run's job"):
        maker_of("nothing").of_item(7).link(URL, Stem("offer", URL))


def test_links_are_found_in_every_text_of_a_job():
    """Message texts, headers, payloads, fallback steps, handlers: wherever a template stands."""
    document = {
        "a": [TEXT, {"b": '{% if item.x %}{{ link("https://b.example") | upper }}{% endif %}'}],
        "c": "no link() at all", "d": '{{ link("https://broken.example" }}', "e": 7, "f": None,
        "g": "{{ link() }}", "h": '{{ item.link }} link("https://text.example")',
    }  # fmt: skip
    found = find_links(document)
    assert {stem.prefix for stem in found.stems} == {URL, "https://b.example", ""}
    assert {stem.name for stem in found.stems} == {"offer", "link"}
    assert found.unsubscribes
    assert not find_links({"a": "{{ item.link }} (x)"}).any


@given(
    stems=st.frozensets(st.builds(Stem, name=st.text(max_size=2), prefix=st.text(max_size=3)), max_size=30)
)
def test_codes_are_of_one_stem_each(stems: frozenset[Stem]):
    """No two links of a run share a code, and a code does not depend on the order."""
    codes = stem_codes(stems, run_uid="run-1")
    assert len(set(codes.values())) == len(stems) == len(codes)
    assert codes == stem_codes(frozenset(sorted(stems, reverse=True)), run_uid="run-1")


def test_codes_that_meet_part_again(monkeypatch: pytest.MonkeyPatch):
    """Where the first tries of several stems meet, each still has a code of its own."""
    monkeypatch.setattr("clarion.links.stems._code", lambda *arguments: bytes(arguments[-1:]))
    stems = frozenset(Stem("n", str(number)) for number in range(20))
    assert len(set(stem_codes(stems, run_uid="r").values())) == 20


def test_job_with_links_needs_their_address(monkeypatch: pytest.MonkeyPatch):
    """Without the setting a job with links is refused before there is a run, one without is not."""
    monkeypatch.delenv("CLARION_LINK_BASE_URL", raising=False)
    check_links(make_job())
    job = make_job(segments=segments(), actions={"send": ACTION})
    with pytest.raises(SettingError, match=r"CLARION_LINK_BASE_URL: is not set.*expected the public address"):
        check_links(job)
    monkeypatch.setenv("CLARION_LINK_BASE_URL", BASE)
    check_links(job)


@pytest.mark.parametrize(
    "given", ["go.example", "ftp://go.example", "https://go.example/?x", "https://u@go.example", "https://"]
)
def test_address_of_links_must_be_one(given: str, monkeypatch: pytest.MonkeyPatch):
    """A setting that is no address is refused, for rehearsals too."""
    monkeypatch.setenv("CLARION_LINK_BASE_URL", given)
    for rehearsal in (False, True):
        with pytest.raises(SettingError, match="is not valid"):
            link_base_url(rehearsal=rehearsal)


def test_address_of_links_may_have_a_path(monkeypatch: pytest.MonkeyPatch):
    """A slash at its end is left out; a rehearsal has an address of its own where there is none."""
    monkeypatch.setenv("CLARION_LINK_BASE_URL", "https://example.com/go/")
    assert link_base_url(rehearsal=False) == "https://example.com/go"
    monkeypatch.delenv("CLARION_LINK_BASE_URL")
    assert link_base_url(rehearsal=True) == REHEARSAL_BASE_URL == f"http://127.0.0.1:{DEFAULT_PORT}"


def test_run_whose_messages_have_no_links_makes_none(monkeypatch: pytest.MonkeyPatch):
    """Neither the setting nor a key is asked for."""
    monkeypatch.setattr("clarion.links.tokens.secret_key", lambda: pytest.fail("a key is asked for"))
    job = make_job().model_dump_json()
    assert link_maker(job, run_id=1, run_uid="r", rehearsal=False) is None
    assert preview_links(make_job()) is None


def test_preview_shows_links_as_long_as_those_of_a_run(monkeypatch: pytest.MonkeyPatch):
    """They lead nowhere and need neither the setting nor a key."""
    monkeypatch.delenv("CLARION_LINK_BASE_URL", raising=False)
    monkeypatch.setattr("clarion.links.tokens.secret_key", lambda: pytest.fail("a key is asked for"))
    campaign = make_campaign(segments=segments(), actions={"send": ACTION})
    request = planned_request(campaign, plan(campaign)[0], run=RUN)
    _, link, unsubscribe = json.loads(request.content)["text"].split()
    assert link.startswith(f"{REHEARSAL_BASE_URL}/l/")
    assert unsubscribe.startswith(f"{REHEARSAL_BASE_URL}/u/")
    assert 22 <= len(link.rpartition("/")[2]) <= 24


def test_message_has_the_links_of_its_item():
    """Parameters, message texts and the command see the same functions."""
    campaign = make_campaign(segments=segments(), actions={"send": ACTION})
    maker = link_maker(campaign.job.model_dump_json(), run_id=3, run_uid="run-1", rehearsal=True)
    assert maker is not None
    scope = request_scope(
        campaign,
        campaign.segments[0],
        item={},
        recipient="r",
        run=RUN,
        run_item={"id": "i"},
        links=maker.of_item(7, step=2),
    )
    token = scope["template"]["message"].rpartition("/u/")[2]
    found = UnsubscribeToken.unpacked(Signer("unsubscribe").body(token) or b"")
    assert found is not None
    assert (found.run_id, found.run_item_id, found.step, found.scope) == (3, 7, 2, "job")
