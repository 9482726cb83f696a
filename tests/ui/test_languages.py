"""The page in other languages: each table is whole, what people typed is left alone."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from lora_studio.ui.languages.inline_marks import MARKED, with_marks
from lora_studio.ui.languages.language import ENGLISH, LANGUAGES, asked_language, language, speaking
from lora_studio.ui.languages.message_pattern import MessagePattern
from lora_studio.ui.languages.message_table import MessageTable, message_table, read_table
from lora_studio.ui.languages.translated_html import translated_html
from lora_studio.ui.languages.translated_props import translated_props
from lora_studio.ui.languages.translated_scripts import translated_script
from lora_studio.ui.languages.translation import translated, translated_markup, translated_message
from lora_studio.ui.languages.typed_text import CLOSE, OPEN, is_typed
from lora_studio.ui.widgets.html_templates import fill
from lora_studio.ui.widgets.markdown_view import markdown_html
from lora_studio.ui.widgets.setting_labels import found_settings
from scripts.list_words.page_words import page_messages
from tests.support.pace import seconds_of, stretched

EFFECT = "More shows finer details, up to the base's own size; beyond it pictures repeat themselves."
OTHERS = [tag for tag in LANGUAGES if tag != ENGLISH]
TABLE = MessageTable(
    "de",
    {
        "Delete": "Löschen",
        "Undo": "Rückgängig",
        "change": "ändern",
        "none": "keine",
        "“{title}” was deleted.": "„{title}“ wurde gelöscht.",
        "{n} picture": "{n} Bild",
        "{n} pictures": "{n} Bilder",
        "{counted}, {captions} with a caption": "{counted}, {captions} mit Beschreibung",
        "Remove {name}": "{name} entfernen",
        "Press <b>Train</b>.": "Drücken Sie <b>Trainieren</b>.",
        "Try again.": "Versuchen Sie es noch einmal.",
        "{field}: {problem} (got {shown}).": "{field}: {problem} (nicht {shown}).",
        "{size} of RAM": "{size} Arbeitsspeicher",
        "about {size}": "etwa {size}",
        "Steps": "Schritte",
        "a number is needed": "eine Zahl wird gebraucht",
    },
)


@pytest.mark.parametrize("tag", OTHERS)
def test_no_text_of_the_page_is_missing_and_none_is_there_in_vain(tag: str) -> None:
    table, messages = read_table(tag), page_messages()
    missing, unused = sorted(messages - table.keys()), sorted(table.keys() - messages)
    how = f"python -m scripts.list_words {tag} lists what is missing, --clean takes out what is unused"
    assert not missing, f"{missing[:5]} and {len(missing)} in all: {how}"
    assert not unused, f"{unused[:5]} and {len(unused)} in all: {how}"


@pytest.mark.parametrize("tag", OTHERS)
def test_placeholders_and_tags_are_the_same_in_each_language(tag: str) -> None:
    for english, text in read_table(tag).items():
        assert text.strip(), english
        assert set(MessagePattern.of(text).names) == set(MessagePattern.of(english).names), english
        marks = [sorted(MARKED.findall(with_marks(one))) for one in (english, text)]
        assert marks[0] == marks[1], english
        assert re.findall(r"<[^>]*>", text) == [] or "<" in english, english


@pytest.mark.parametrize("tag", OTHERS)
def test_a_table_stands_in_one_order(tag: str) -> None:
    """Additions of several people at once meet in one line only where they are the same."""
    assert list(read_table(tag)) == sorted(read_table(tag))


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("1 picture", "1 Bild"),
        ("1,200 pictures", "1.200 Bilder"),
        ("12 pictures, 3 with a caption", "12 Bilder, 3 mit Beschreibung"),
        ("“Undo” was deleted. Try again.", "„Undo“ wurde gelöscht. Versuchen Sie es noch einmal."),
        ("Steps: a number is needed (got 'Delete').", "Schritte: eine Zahl wird gebraucht (nicht 'Delete')."),
        ("Delete · 2 pictures", "Löschen · 2 Bilder"),
        ("36.1 MB", "36,1 MB"),
        ("690 MB of RAM, about 4.5 GB of RAM", "690 MB Arbeitsspeicher, etwa 4,5 GB Arbeitsspeicher"),
        ("2026-11-30 14:05", "30.11.2026 14:05"),
        ("two pictures", "two pictures"),
        ("nobody knows this", "nobody knows this"),
        ("Undo, said nobody", "Undo, said nobody"),
    ],
)
def test_texts_are_found_whole_or_taken_apart(english: str, german: str) -> None:
    assert TABLE.translated(english) == german


def test_what_is_put_together_is_told_in_japanese() -> None:
    table = message_table("ja")
    for english, japanese in (
        ("about 4 min left", "残り約 4 分"),
        ("69 % · about 45 s left", "69 % · 残り約 45 秒"),
        ("Paused at step 3 of 9. It can go on at any time, also after a restart.",
         "9 ステップ中 3 で一時停止しました。再起動のあとでも、いつでも続けられます。"),
        ("Step 75 is recommended: it keeps to the prompts; it has the lowest loss on the held-out pictures.",
         "ステップ 75 がおすすめです：プロンプトに従います; 取り置いた画像での損失が最も低い。"),
    ):  # fmt: skip
        assert table.translated(english) == japanese
    title = "Pictures to train on"
    with speaking("ja"):
        assert translated_markup(f"<b>{title}</b><small>{EFFECT}</small>") == (
            f"<b>{table.translated(title)}</b><small>{table.translated(EFFECT)}</small>"
        )
    ranged = f"(32 to 2,048 px) {EFFECT}"
    assert table.translated(ranged) == f"(32 から 2,048 px) {table.translated(EFFECT)}"


def test_html_keeps_its_tags_and_what_stands_in_fields() -> None:
    markup = '<p class="x">Press <b class="k">Train</b>.</p>\n<textarea>Delete</textarea><!-- Undo -->'
    expected = (
        '<p class="x">Drücken Sie <b class="k">Trainieren</b>.</p>\n<textarea>Delete</textarea><!-- Undo -->'
    )
    assert translated_html(markup, TABLE) == expected
    assert translated_html('<b aria-label="Remove a&quot;b" data-id="Undo">Undo</b>', TABLE) == (
        '<b aria-label="a&quot;b entfernen" data-id="Undo">Rückgängig</b>'
    )
    assert translated_html('<i translate="no" title="Undo">Undo<b>Undo</b></i>Undo', TABLE) == (
        '<i translate="no" title="Undo">Undo<b>Undo</b></i>Rückgängig'
    )


@pytest.mark.parametrize(
    "name", ["Undo", "Delete", "<b>Undo</b>", "“Undo” was deleted.", f"{OPEN}Undo{CLOSE}", "\ue000", "\uf000"]
)
def test_what_people_typed_is_never_translated(name: str) -> None:
    with speaking("de"):
        markup = fill("deleted", title=name)
        assert OPEN in markup
        shown = translated_html(markup, message_table("de"))
    assert OPEN not in shown
    with speaking(ENGLISH):
        english = fill("deleted", title=name.replace(OPEN, "").replace(CLOSE, ""))
    kept = english.partition("“")[2].rpartition("” was")[0]
    assert f"„{kept}“ wurde gelöscht" in shown


@pytest.mark.parametrize(
    ("words", "whether"),
    [
        (["job", "name"], True),
        (["image", "prompt"], True),
        (["phase", "title"], False),
        (["job", "status"], False),
        (["path", "|", "url"], True),
        (["show", "(", "name"], False),
    ],
)
def test_expressions_for_names_are_told_by_their_words(words: list[str], whether: bool) -> None:
    assert is_typed(words) is whether


def test_components_are_translated_where_they_speak() -> None:
    props = {"label": "Steps", "value": "Delete", "choices": [("Delete", "delete"), ("My own", "Delete")]}
    made = translated_props("textbox", props, TABLE)
    assert made == {
        "label": "Schritte",
        "value": "Delete",
        "choices": [["Löschen", "delete"], ["My own", "Delete"]],
    }
    assert translated_props("button", {"value": "Delete"}, TABLE)["value"] == "Löschen"
    assert translated_props("dropdown", props, TABLE, has_names=True)["choices"] == props["choices"]


def test_settings_are_found_by_their_words_in_the_page_s_language() -> None:
    assert not found_settings("lernrate")
    with speaking("de"):
        assert {leaf.name for leaf, _ in found_settings("lernrate textencoder")} >= {"text_encoder_lr"}
        assert found_settings("learning rate")[0][0].name == "learning_rate"


def test_scripts_keep_their_code() -> None:
    script = "on('change', 'none', 'Undo'); say('Try again.', `“${one.title}” was deleted.`); // Undo"
    made = (
        "on('change', 'none', 'Undo'); say('Versuchen Sie es noch einmal.', "
        "`„${one.title}“ wurde gelöscht.`); // Undo"
    )
    assert translated_script(script, TABLE) == made


@pytest.mark.parametrize(
    ("headers", "tag"),
    [
        ({}, "en"),
        ({"accept-language": "de-AT,de;q=0.9,en;q=0.8"}, "de"),
        ({"accept-language": "fr,en;q=0.4,ja;q=0.6"}, "ja"),
        ({"accept-language": "zh-TW"}, "zh-CN"),
        ({"accept-language": "es;q=0, de;q=x, pt"}, "en"),
        ({"accept-language": "a" * 100_000 + ",de"}, "en"),
        ({"accept-language": "de", "cookie": "a=b; lora-studio-language=es"}, "es"),
        ({"accept-language": "de", "cookie": "lora-studio-language=../../etc"}, "de"),
        ({"cookie": "lora-studio-language=es", "x-lora-studio-language": "ja"}, "ja"),
        ({"x-lora-studio-language": "klingon", "accept-language": "es"}, "es"),
    ],
)
def test_the_language_is_the_page_s_or_the_chosen_or_the_browser_s(headers: dict[str, str], tag: str) -> None:
    assert asked_language(headers) == tag


def test_an_answer_is_in_one_language_from_beginning_to_end() -> None:
    assert (language(), translated("Undo")) == (ENGLISH, "Undo")
    with speaking("de"):
        assert translated_message("Undo") == "Rückgängig"
        with speaking("klingon"):
            assert language() == ENGLISH
        assert language() == "de"


@pytest.mark.parametrize("sign", [", ", "; ", ": ", " · ", " (", "“", ". "])
def test_long_and_odd_texts_cost_little(sign: str) -> None:
    assert seconds_of(lambda: message_table("de").translated(("Write a" + sign) * 420)) < stretched(0.1)


@pytest.mark.parametrize("word", ["Step ", "Picture ", "of "])
def test_a_message_is_looked_for_inside_itself_a_few_times_only(word: str) -> None:
    text = (word * 1000)[:3000].strip()
    assert message_table("de").translated(text)


def test_what_people_wrote_in_a_card_stays_as_it_is() -> None:
    with speaking("de"):
        body = markdown_html("Undo\n\n- Delete\n\n![Trash](previews/x.png)", pictures={})
        made = translated_markup(fill("card_view", body=body, file=None))
    assert str(body) in made
    assert "Die Karte, wie andere sie sehen" in made


def test_settings_and_captions_that_people_typed_are_compared_as_they_are() -> None:
    run = SimpleNamespace(job=SimpleNamespace(id="1", name="Undo", status="finished"))
    picture = SimpleNamespace(pictures=(None, None), captions=("Delete",))
    facts = {
        "sides": [("A", run, []), ("B", run, [])],
        "rows": [{"label": "Trigger word", "name": "trigger_word", "values": ["Undo", "Delete"]}],
        "rounds": [SimpleNamespace(steps=(1, 1), pairs=[picture])],
    }
    with speaking("de"):
        made = translated_markup(fill("comparison", **facts, same=3, charts=[], table=[]))
    assert "<td>Undo</td><td>Delete</td>" in made
    assert "<figcaption>Delete</figcaption>" in made
