"""The unsubscribe page: one question, one button. No script, nothing from elsewhere, nobody's address."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the page says in one language."""

    title: str
    question: str
    button: str
    done: str
    told: str
    unknown: str
    again: str


WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "en": Words(
            title="Unsubscribe",
            question="Do you want to stop receiving these messages?",
            button="Unsubscribe",
            done="You are unsubscribed",
            told="You will not receive these messages any more. You can close this page.",
            unknown="This link is not valid",
            again="Please open the link as it stands in your message.",
        ),
        "de": Words(
            title="Abmelden",
            question="Möchten Sie diese Nachrichten nicht mehr erhalten?",
            button="Abmelden",
            done="Sie sind abgemeldet",
            told="Sie erhalten diese Nachrichten nicht mehr. Sie können diese Seite schließen.",
            unknown="Dieser Link ist ungültig",
            again="Bitte öffnen Sie den Link so, wie er in Ihrer Nachricht steht.",
        ),
        "es": Words(
            title="Cancelar la suscripción",
            question="¿Desea dejar de recibir estos mensajes?",
            button="Cancelar la suscripción",
            done="Suscripción cancelada",
            told="Ya no recibirá estos mensajes. Puede cerrar esta página.",
            unknown="Este enlace no es válido",
            again="Abra el enlace tal como aparece en su mensaje.",
        ),
        "fr": Words(
            title="Se désabonner",
            question="Souhaitez-vous ne plus recevoir ces messages ?",
            button="Se désabonner",
            done="Vous êtes désabonné",
            told="Vous ne recevrez plus ces messages. Vous pouvez fermer cette page.",
            unknown="Ce lien n'est pas valide",
            again="Veuillez ouvrir le lien tel qu'il figure dans votre message.",
        ),
        "it": Words(
            title="Annulla l'iscrizione",
            question="Non desidera più ricevere questi messaggi?",
            button="Annulla l'iscrizione",
            done="Iscrizione annullata",
            told="Non riceverà più questi messaggi. Può chiudere questa pagina.",
            unknown="Questo link non è valido",
            again="Apra il link così come appare nel messaggio.",
        ),
        "nl": Words(
            title="Afmelden",
            question="Wilt u deze berichten niet meer ontvangen?",
            button="Afmelden",
            done="U bent afgemeld",
            told="U ontvangt deze berichten niet meer. U kunt deze pagina sluiten.",
            unknown="Deze link is niet geldig",
            again="Open de link zoals die in uw bericht staat.",
        ),
        "pt": Words(
            title="Cancelar a subscrição",
            question="Deseja deixar de receber estas mensagens?",
            button="Cancelar a subscrição",
            done="Subscrição cancelada",
            told="Não receberá mais estas mensagens. Pode fechar esta página.",
            unknown="Esta ligação não é válida",
            again="Abra a ligação tal como está na sua mensagem.",
        ),
    }
)
DEFAULT_LANGUAGE = "en"

_STYLE = """
:root { color-scheme: light dark; --text: #1c1d21; --page: #f3f4f6; --card: #fff;
  --accent: #1b4fd6; --on-accent: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #eceef2; --page: #15161a; --card: #212329; --accent: #9db8ff; --on-accent: #10131c; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--page); color: var(--text); font: 1.125rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 28rem; padding: 2.5rem 2rem; border-radius: 0.75rem;
  background: var(--card); box-shadow: 0 1px 4px rgb(0 0 0 / 15%); }
h1 { margin: 0 0 0.75rem; font-size: 1.5rem; line-height: 1.25; }
p { margin: 0; }
form { margin: 1.75rem 0 0; }
button { width: 100%; min-height: 3rem; padding: 0.75rem 1.5rem; border: 0; border-radius: 0.5rem;
  background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600; cursor: pointer; }
button:focus-visible { outline: 3px solid var(--text); outline-offset: 3px; }
"""

_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        ),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "vary": "Accept-Language",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex",
    }
)


def ask(language: str) -> str:
    """The page with the button."""
    words = WORDS[language]
    form = f'<form method="post"><button type="submit">{escape(words.button)}</button></form>'
    return _page(language, title=words.title, text=words.question, form=form)


def tell_done(language: str) -> str:
    """The page after the button."""
    return _page(language, title=WORDS[language].done, text=WORDS[language].told)


def tell_unknown(language: str) -> str:
    """The page for a link that is none."""
    return _page(language, title=WORDS[language].unknown, text=WORDS[language].again)


def _page(language: str, *, title: str, text: str, form: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n{form}\n</main>\n</body>\n</html>\n"
    )


_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*")
MOST_RANGES = 20


def language_of(accept_language: str) -> str:
    """The language of WORDS that an `Accept-Language` header likes best (RFC 9110); English for any other."""
    best, most = DEFAULT_LANGUAGE, 0.0
    for part in accept_language.split(",")[:MOST_RANGES]:
        found = _RANGE.fullmatch(part)
        if found is None or (name := found[1].lower()) not in WORDS:
            continue
        quality = 1.0 if found[2] is None else float(found[2])
        if quality > most:
            best, most = name, quality
    return best
