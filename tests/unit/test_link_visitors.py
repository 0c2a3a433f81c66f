"""Who follows a link: people, and machines that say that they are."""

import pytest

from clarion.links.visitors import visitor_of

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {WEBKIT}"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0"
PEOPLE = [
    f"{IPHONE} Version/18.5 Mobile/15E148 Safari/604.1",
    f"{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/520.0.0.38.101;FBBV/756351453;FBDV/iPhone14,7]",
    f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 20) {CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 14; SM-S921B) {CHROME} Mobile Safari/537.36 Instagram 345.0",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/139.0 Avast/139.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Opera/9.80 (Android; Opera Mini/84.0.2254/191.322; U; en) Presto/2.12.423 Version/12.16",
]
MACHINES = [
    "",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "WhatsApp/2.23.20.0 A",
    f"Mozilla/5.0 (Macintosh) {WEBKIT} Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "TelegramBot (like TwitterBot)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Viber/13.3.0.5",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Microsoft Office/16.0 (Windows NT 10.0; Outlook 16.0.1)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "bingbot/2.0",
    "Barracuda Sentinel (EE)",
    f"Mozilla/5.0 (X11; Linux x64) {CHROME.replace('Chrome', 'HeadlessChrome')} Safari/537.36",
    "curl/8.5.0",
    "Wget/1.21",
    "python-requests/2.32",
    "Go-http-client/2.0",
    "Mimecast URL Protect",
    "YahooMailProxy; https://help.yahoo.com",
]


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_browsers_are_people(user_agent: str):
    """Browsers, also those within other apps, and of telephones whose maker's name ends in bot."""
    assert visitor_of("GET", {"user-agent": user_agent}) is None


@pytest.mark.parametrize("user_agent", MACHINES)
def test_bots_scanners_and_tools_are_machines(user_agent: str):
    """Previews of messengers, scanners of mail, programs, and whoever does not say."""
    assert visitor_of("GET", {"user-agent": user_agent}) == "scanner"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"),
        ("purpose", "Preview"), ("x-purpose", "preview"), ("x-moz", "prefetch"),
    ],
)  # fmt: skip
def test_browser_that_fetches_ahead_is_no_person(name: str, value: str):
    """It says so in one of the headers for it."""
    assert visitor_of("GET", {"user-agent": PEOPLE[0], name: value}) == "prefetch"


def test_head_is_no_person():
    """Nobody who looks at a page asks for its head alone."""
    assert visitor_of("HEAD", {"user-agent": PEOPLE[0]}) == "head"
