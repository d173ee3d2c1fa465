"""Tells what is put around a request from the request, by its shape.

Tags, headers, roles and personas say who speaks, to whom, and how much it is said to matter. None
of them asks for anything, and a sentence vector follows them all the same: "[system] escalation
approved" in front of small talk reads like hard work. Their shapes are few, whatever is in them.
"""

from __future__ import annotations

import re
from typing import Final

MOST_PERSONA_CHARACTERS: Final = 90
"""A longer opening tells the case that is asked about, not a role to play."""

_INSIDE: Final = r"[^\[\]<>{}\n]{0,100}"
# Names of what carries authority or weight, not content: `[1, 2]` and `<div>` are content.
_NAMES: Final = (
    r"(?:x-)?(?:sys(?:tem)?|admin\w*|root|operator|developer|moderator|override|meta(?:data)?|flags?"
    r"|context|hint|notice|urgen\w*|priorit\w*|severity|sla|tier|level|class|complex\w*|difficult\w*"
    r"|rout\w+|model|effort|budget|quality|plan|customer|client|user|account|role|mode|importan\w*"
    r"|critical|vip|premium|enterprise|escalat\w*|approv\w*|authori[sz]\w*|clearance|confidential"
    r"|reviewer|expert|think\w*|reasoning|inst|p[0-3]|sev-?\d|policy|request|audience|status|security)"
)
_MARKED: Final = (
    rf"\[+{_INSIDE}?\b{_NAMES}\b{_INSIDE}\]+"
    rf"|<+/?\s*{_NAMES}\b[^<>\n]{{0,60}}>+(?:[^<>]{{0,120}}<+/\s*\w+[^<>\n]{{0,20}}>+)?"
    rf"|\{{[^{{}}\n]{{0,20}}?\b{_NAMES}\b[^{{}}\n]{{0,120}}\}}"
    rf"|\*\*{_INSIDE}?\b{_NAMES}\b[^*\n]{{0,60}}\*\*"
)
_HEADER: Final = (
    # Front matter, headings, and lines or words that set a value.
    rf"-{{3,}}\n(?:[\w -]{{1,30}}:[^\n]{{0,60}}\n){{1,6}}-{{3,}}(?:\n|$)"
    rf"|(?:#{{1,6}}|={{2,}}|-{{2,}}|\*{{2,}})\s*\b{_NAMES}\b[^\n]{{0,80}}\n"
    rf"|(?:\w+[ -])?{_NAMES}[\w-]*\s?[:=]\s?[^\n.!?]{{0,60}}\n"
    rf"|(?:\w+[ -])?(?!user|customer|client|account){_NAMES}\w{{0,3}}\s?(?::|\s-)\s"
    r"[^\n.!?;:]{0,60}[.!;]\s"
    rf"|(?:p[0-3]|sev(?:erity)?[ -]?\d)\b(?: \w+){{0,3}}[.!:,]\s"
    rf"|(?:[\w-]*{_NAMES}[\w-]*=[\w./-]+[;,]?\s+){{1,6}}"
    rf"|(?:\#[A-Za-z]\w{{2,30}}\s+){{1,6}}"
)
_ROLES: Final = (
    r"(?:\#+\s*)?(?:<\|?)?system(?:\|?>)?\s*:\s?[^\x00]{0,200}?"
    r"\n\s*(?:\#+\s*)?(?:user|human)\s*:\s*"
)
_ADDRESSED: Final = (
    r"(?:(?:from now on,? )?(?:you are|you're) "
    r"|(?:please )?(?:act|behave|respond|answer|reply|think) (?:as|like) "
    r"|(?:imagine|pretend)(?: that)? (?:you are|you're|to be) "
    r"|(?:assume|take on|play) the (?:role|persona) of |put yourself in the shoes of )"
    r"(?:if you were )?(?:a|an|the|my|your|our|one of|somebody|someone)\b"
)
_STANDING: Final = (
    r"\b(?:phd|doctoral|professor|researcher|scientist|engineer|architect|expert|ceo|cto|cfo|founder"
    r"|executive|admin\w*|developer|subscriber|vip|premium|enterprise|paying|specialist|physicist"
    r"|mathematician|strategist|laureate|scholar|authority|genius|guru|analyst|consultant|world-?"
    r"(?:class|renowned)|senior|principal|chief|leading|top|renowned|seasoned|experienced)s?\b"
)
# With figures it tells a case to solve.
_CLAUSE: Final = rf"(?:[^.,:;!?\n\d]|\d{{1,2}}\+?(?= years)){{0,{MOST_PERSONA_CHARACTERS}}}"
_SAID_OF_ONESELF: Final = (
    r"(?:(?:speaking )?as|i am|i'm|we are|we're|this is|(?:answer|respond|reply|think) (?:as|like))"
    rf" (?:a|an|the|my|your|our|from the)\b[^.,:;!?\n]{{0,40}}{_STANDING}[^.,:;!?\n]{{0,60}}"
)
_PERSONA: Final = rf"(?:{_SAID_OF_ONESELF}|{_ADDRESSED}{_CLAUSE})"

_LEADING: Final = re.compile(
    rf"(?i)\s{{0,20}}(?:{_ROLES}|{_HEADER}|(?:{_MARKED})[\s:,;.-]*"
    rf"|{_PERSONA}(?:[.,:;!\n\u2013\u2014]+(?=\s|$)))"
)
_TRAILING: Final = re.compile(
    rf"(?:\s+(?i:{_MARKED}|\#[A-Za-z]\w{{2,30}})"
    r"|\s+(?:P\.\s?S\.|PS\b|ps:|p\.s\.)[^\n?]{0,140}"
    rf"|(?<=[.!?:;,\n])\s+(?i:{_SAID_OF_ONESELF})[.!]*"
    rf"|(?<=[a-z0-9])\s+(?=[A-Z])(?i:{_SAID_OF_ONESELF})[.!]*)\s*$"
)
_MAY_LEAD: Final = re.compile(
    r"(?i)\s{0,20}(?:[\[<{#*=-]|(?:you|from|please|act|behave|respond|answer|reply|write|think|imagine"
    r"|pretend|assume|take|play|speaking|put|as|i|i'm|we|we're|this|sys\w*|p[0-3]|sev\w*)\b"
    r"|[\w-]{1,20}(?:\s?[:=]| \w{1,20}\s?[:=]))"
)
"""What any of the shapes begins with: nearly no prompt passes this, and trying it is quick."""

_MOST_LEADING: Final = 4
_TAIL_CHARACTERS: Final = 300


def end_of_framing(text: str) -> int:
    """Returns where the request begins: behind what is put in front of it, 0 where nothing is."""
    start = 0
    for _ in range(_MOST_LEADING):
        if not _MAY_LEAD.match(text, start):
            break
        found = _LEADING.match(text, start)
        if found is None or not found.group().strip():
            break
        start = found.end()
    return start


def start_of_framing(text: str) -> int:
    """Returns where the request ends: before what is put behind it, the length where nothing is."""
    offset = max(0, len(text) - _TAIL_CHARACTERS)
    found = _TRAILING.search(text, offset)
    return found.start() if found is not None else len(text)
