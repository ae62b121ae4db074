"""The page's words, in French and English; the browser's language chooses."""

from __future__ import annotations

LANGUAGES = ("en", "fr")

TEXTS: dict[str, dict[str, str]] = {
    "title": {"en": "Écluse: state of the gateway", "fr": "Écluse : état de la passerelle"},
    "skip": {"en": "Skip to the content", "fr": "Aller au contenu"},
    "colon": {"en": ":", "fr": " :"},
    "ready": {"en": "Everything works", "fr": "Tout fonctionne"},
    "not_ready": {"en": "Something needs attention", "fr": "Quelque chose demande votre attention"},
    "live": {"en": "Pause updates", "fr": "Suspendre l’actualisation"},
    "paused": {"en": "Resume updates", "fr": "Reprendre l’actualisation"},
    "time": {"en": "Gateway time:", "fr": "Heure de la passerelle :"},
    "components": {"en": "Components", "fr": "Composants"},
    "component": {"en": "Component", "fr": "Composant"},
    "state": {"en": "State", "fr": "État"},
    "since": {"en": "Since (UTC)", "fr": "Depuis (UTC)"},
    "detail": {"en": "Detail", "fr": "Précision"},
    "ok": {"en": "well", "fr": "bon"},
    "starting": {"en": "starting", "fr": "démarre"},
    "degraded": {"en": "degraded", "fr": "dégradé"},
    "down": {"en": "down", "fr": "en panne"},
    "replay": {"en": "Starting: the journal is replayed", "fr": "Démarrage : relecture du journal"},
    "replay_help": {
        "en": "What was acknowledged before the stop is treated again; then the gateway connects.",
        "fr": "Ce qui avait été acquitté avant l’arrêt est traité à nouveau, puis la connexion s’établit.",
    },
    "replay_left": {"en": "about {seconds} s left", "fr": "encore {seconds} s environ"},
    "clock": {"en": "The clock is suspect", "fr": "L’horloge est douteuse"},
    "clock_stepped": {
        "en": "The machine’s clock was set: it shows {shown} (UTC), {expected} was expected.",
        "fr": "L’horloge de la machine a été changée : elle indique {shown} (UTC), on attendait {expected}.",
    },
    "clock_behind": {
        "en": "The machine’s clock shows {shown} (UTC), which is before the newest record ({newest}).",
        "fr": "L’horloge de la machine indique {shown} (UTC), avant le dernier enregistrement ({newest}).",
    },
    "clock_waits": {
        "en": "Nothing is lost: {waiting} uplinks are in the journal and wait to be decoded, until the clock "
        "has not been set for a minute and is past {newest}, or until you confirm it.",
        "fr": "Rien n’est perdu : {waiting} messages sont dans le journal et attendent d’être décodés, "
        "jusqu’à ce que l’horloge n’ait pas été changée pendant une minute et ait dépassé {newest}, ou "
        "jusqu’à votre confirmation.",
    },
    "clock_confirm": {
        "en": "The clock is right: go on",
        "fr": "L’horloge est à l’heure : continuer",
    },
    "rates": {"en": "Flow", "fr": "Débit"},
    "uplinks": {"en": "Uplinks", "fr": "Messages"},
    "readings": {"en": "Readings", "fr": "Mesures"},
    "points": {"en": "Points", "fr": "Points"},
    "books": {"en": "Books", "fr": "Comptes"},
    "books_help": {
        "en": "What came in is what was dealt with: a difference of 0 means that nothing is missing.",
        "fr": "Ce qui est entré est ce qui a été traité : une différence de 0 signifie que rien ne manque.",
    },
    "difference": {"en": "difference", "fr": "différence"},
    "column": {"en": "Column", "fr": "Poste"},
    "unbalanced": {"en": "does not balance", "fr": "déséquilibré"},
    "never": {"en": "never", "fr": "jamais"},
    "journalled": {"en": "journalled", "fr": "journalisés"},
    "decoded": {"en": "decoded", "fr": "décodés"},
    "quarantined": {"en": "quarantined", "fr": "en quarantaine"},
    "duplicate": {"en": "duplicate", "fr": "en double"},
    "ignored": {"en": "ignored", "fr": "ignorés"},
    "erased": {"en": "erased", "fr": "effacés"},
    "rate_limited": {"en": "rate limited", "fr": "débit dépassé"},
    "set_aside": {"en": "set aside", "fr": "écartés"},
    "pending": {"en": "pending", "fr": "en cours"},
    "aggregated": {"en": "aggregated", "fr": "agrégés"},
    "raw_only": {"en": "raw only", "fr": "bruts seulement"},
    "rejected": {"en": "rejected", "fr": "rejetés"},
    "conflicting": {"en": "conflicting", "fr": "contradictoires"},
    "made": {"en": "made", "fr": "produits"},
    "stored": {"en": "stored", "fr": "enregistrés"},
    "waiting": {"en": "waiting", "fr": "en attente"},
    "refused": {"en": "refused", "fr": "refusés"},
    "dropped": {"en": "dropped", "fr": "abandonnés"},
    "superseded": {"en": "superseded", "fr": "remplacés"},
    "count": {"en": "Count", "fr": "Nombre"},
    "sink": {"en": "Sink", "fr": "Destination"},
    "quarantine": {"en": "Quarantine", "fr": "Quarantaine"},
    "quarantine_none": {"en": "Nothing was refused.", "fr": "Rien n’a été refusé."},
    "reason": {"en": "Reason", "fr": "Raison"},
    "queues": {"en": "Queues", "fr": "Files d’attente"},
    "queue": {"en": "Queue", "fr": "File"},
    "items": {"en": "Items", "fr": "Éléments"},
    "bytes": {"en": "Bytes", "fr": "Octets"},
    "age": {"en": "Oldest", "fr": "Plus ancien"},
    "limit": {"en": "Of at most", "fr": "Au plus"},
    "empty": {"en": "Empty in", "fr": "Vide dans"},
    "growing": {"en": "it grows", "fr": "elle grandit"},
    "behind": {"en": "{n} of them after newer ones", "fr": "dont {n} après les plus récents"},
    "devices": {"en": "Devices", "fr": "Équipements"},
    "known": {"en": "known", "fr": "connus"},
    "heard": {"en": "heard", "fr": "entendus"},
    "silent": {"en": "silent", "fr": "silencieux"},
    "unknown": {"en": "unknown", "fr": "inconnus"},
    "values": {"en": "Latest values", "fr": "Dernières valeurs"},
    "values_none": {"en": "No value is stored yet.", "fr": "Aucune valeur n’est encore enregistrée."},
    "values_absent": {
        "en": "There is no embedded store: ask your database.",
        "fr": "Il n’y a pas de base embarquée : interrogez votre base de données.",
    },
    "device": {"en": "Device", "fr": "Équipement"},
    "measured": {"en": "Measured (UTC)", "fr": "Mesuré (UTC)"},
    "coverage": {"en": "Coverage, last window", "fr": "Couverture, dernière fenêtre"},
    "trend": {"en": "Trend", "fr": "Tendance"},
    "trend_text": {
        "en": "{field}: from {first} to {last}, lowest {low}, highest {high}",
        "fr": "{field} : de {first} à {last}, minimum {low}, maximum {high}",
    },
    "more": {
        "en": "{n} more series: ecluse query {family} --latest",
        "fr": "{n} autres séries : ecluse query {family} --latest",
    },
    "try": {"en": "Three things to try", "fr": "Trois choses à essayer"},
    "try_publish": {
        "en": "Publish this line: an unknown payload, seen at once in quarantine with its reason.",
        "fr": "Publiez cette ligne : un contenu inconnu, vu aussitôt en quarantaine avec sa raison.",
    },
    "try_stop": {
        "en": "Stop the database for 20 seconds: its queue grows, then drains, and its book returns to 0.",
        "fr": "Arrêtez la base 20 secondes : sa file grandit, puis se vide, et son compte revient à 0.",
    },
    "try_stop_button": {"en": "Pause the store for 20 s", "fr": "Suspendre la base 20 s"},
    "try_kill": {
        "en": "Kill the gateway and see it come back: nothing is lost, nothing is counted twice.",
        "fr": "Tuez la passerelle et voyez-la revenir : rien n’est perdu, rien n’est compté deux fois.",
    },
    "waste": {"en": "Waste", "fr": "Déchets"},
    "traffic": {"en": "Traffic", "fr": "Circulation"},
    "water": {"en": "Water", "fr": "Eau"},
}


def language(accept: str) -> str:
    """Return `fr` or `en` from an Accept-Language header; English where neither is asked for."""
    wishes: list[tuple[float, int, str]] = []
    for order, part in enumerate(accept[:500].split(",")):
        tag, _, weight = part.strip().partition(";q=")
        code = tag.strip().lower()[:2]
        if code in LANGUAGES:
            wishes.append((-_weight(weight), order, code))
    return min(wishes)[2] if wishes else "en"


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def words(lang: str) -> dict[str, str]:
    """Return every text in one language."""
    return {key: text[lang] for key, text in TEXTS.items()}
