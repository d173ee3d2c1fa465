"""The texts on which a new encoder is compared with sentence-transformers.

Prompts as people write them: short and long, with code, typing errors, other scripts. The first
few also go into the artifact as samples.
"""

from __future__ import annotations

_PARAGRAPH = (
    "The team met on Tuesday to go over the third quarter. Revenue grew by eleven percent, mostly "
    "because two large customers renewed early, while support costs rose faster than planned. "
    "Nadia asked whether the new onboarding flow had reduced the number of tickets; nobody had "
    "the figures at hand. The warehouse move is late by three weeks, since the landlord has not "
    "signed off the fire doors. It was agreed that the budget for contractors stays frozen until "
    "the audit is done, and that Tom drafts a note to all branch managers before Friday. "
)

_FUNCTION = """
def merge(left, right):
    result = []
    while left and right:
        if left[0] <= right[0]:
            result.append(left.pop(0))
        else:
            result.append(right.pop(0))
    return result + left + right
"""

SAMPLE_TEXTS = (
    "summarize this email in two sentences",
    "Why does my asyncio task never finish when the queue is empty?",
    "résumé, naïve café, 北京欢迎你 🎉",
    f"What is wrong with this function?\n```python{_FUNCTION}```",
)
"""Recorded in the artifact with their vectors, and embedded again at every start."""

REFERENCE_TEXTS = (
    *SAMPLE_TEXTS,
    "hi",
    "thanks!",
    "ok, do it",
    "?",
    "translate to German: where is the station?",
    "fix the grammar: he go to school every days",
    "tl;dr of the thread below",
    "what's the capital of Australia",
    "give me three synonyms for happy",
    "convert 68 degrees fahrenheit to celsius",
    "Write a haiku about the first snow in November.",
    "extract all dates from the following contract as JSON",
    "Is this review positive or negative? The hinge broke after two days.",
    "classify the ticket: cannot log in after password reset",
    "rewrite this paragraph in a friendlier tone",
    "Draft a polite reply declining the invitation to speak at the conference.",
    "make a packing list for four days of hiking in the Alps in October",
    "how do i center a div",
    "regex that matches ISO 8601 dates but not times",
    "SELECT name FROM users WHERE created_at > now() - interval '7 days' -- make it faster",
    "Explain the difference between a mutex and a semaphore with an everyday example.",
    "Our Kubernetes pods are OOM-killed at night although memory looks flat. Where do I start?",
    "Prove that the square root of two is irrational.",
    "Derive the gradient of softmax cross-entropy with respect to the logits, step by step.",
    "A train leaves at 9:40 at 80 km/h, another at 10:10 at 110 km/h. When do they meet?",
    "Design a multi-region payment ledger that survives the loss of a data centre without "
    "double spending, and discuss the trade-offs.",
    "Review the architecture of our event-driven order system for race conditions.",
    "Compare event sourcing with change data capture for an audit trail in a regulated bank.",
    "Find the flaw in this argument: all swans seen so far are white, hence all swans are white.",
    "Plan the migration of a 4 TB PostgreSQL database to a new major version with no downtime.",
    "What are the legal risks of training a model on customer e-mails in the EU?",
    "Write a short story in which the narrator slowly turns out to be the house.",
    "Think step by step: if all bloops are razzies and all razzies are lazzies, are all bloops "
    "lazzies?",
    "Erkläre mir den Unterschied zwischen Dativ und Akkusativ.",
    "¿Puedes resumir este artículo en tres frases?",
    "Rédige une lettre de motivation pour un poste de comptable.",
    "このメールを要約してください",
    "Напиши функцию, которая переворачивает строку",
    "اكتب رسالة شكر قصيرة",
    "plz fix teh bug in line 42 its broken agian",
    "URGENT!!! SERVER IS DOWN, WHAT DO I DO???",
    "f(x) = x^3 - 6x^2 + 11x - 6; find all roots and sketch the curve",
    "TypeError: 'NoneType' object is not subscriptable",
    "git rebase -i HEAD~5 left me with a detached head, how do I get my commits back",
    '{"name": "Ada", "born": 1815} -> YAML',
    "https://example.com/report.pdf what does this say",
    "write unit tests for the function below" + _FUNCTION,
    "port this to Rust and keep it allocation-free where possible" + _FUNCTION,
    "Summarize: " + _PARAGRAPH,
    _PARAGRAPH + "Which decisions were taken, and who has to do what by when?",
    "Translate the minutes into French.\n\n" + _PARAGRAPH * 2,
    _PARAGRAPH * 3 + "List every open question in the text above.",
    "You are a careful analyst. " + _PARAGRAPH * 6 + "What would you ask the finance lead?",
    "Here is a log excerpt, find the first anomaly.\n"
    + "".join(f"12:00:{second:02d} INFO worker-{second % 4} job done\n" for second in range(40)),
    "Give me feedback on my essay. " + _PARAGRAPH * 12,
)
"""All texts of the comparison; the longest are cut by the excerpt rule."""
