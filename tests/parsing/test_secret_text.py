"""What is secret is left out of texts, whatever it stands in; words that only look near to it stay."""

from __future__ import annotations

import pytest

from lora_studio.parsing.secret_text import HIDDEN, known_secrets, without_secrets

SECRET = "Zq9planted0word7"


@pytest.mark.parametrize(
    "text",
    [
        "hf_{}",
        "key sk-proj-{}xyz ended",
        "sb_secret_{}",
        "github_pat_{}",
        "https://ada:{}@files.example/x",
        "https://ada:x@{}@files.example/x",
        "https://files.example/x?token={}&more=1",
        "https://files.example/x?a=1&sig={}",
        "http://studio.example/?invite={}",
        "https://discord.com/api/webhooks/123456/{}",
        "https://hooks.slack.com/services/T0/B0/{}",
        '{{"api_key": "{}", "steps": 3}}',
        "password={} is wrong",
        "password='two words {}'",
        '{{"password": "a,b;{}"}}',
        "passphrase: {}",
        "X-Api-Key: {}",
        "Authorization: Token {}",
        "LORA_STUDIO_PASSWORD: {}",
        "Authorization: Bearer {}",
        "authorization: basic {}=",
        "sent bearer {}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{}",
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str) -> None:
    shown = without_secrets(text.format(SECRET))
    assert SECRET not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "step 12 of 200, loss 0.1234, 3 tokens: too many",
        "The trigger word is zwmm; a basic training of a style",
        "https://huggingface.co/owner/name/resolve/main/ink.safetensors",
        "see https://example.org/a?mail=ada@example.org and ada@example.org",
        "task: sketch-of-a-fox-in-the-snow, hf_hub is here, view: the harbour",
        "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_k",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert without_secrets(text) == text


def test_secrets_of_the_environment_are_known_by_their_names() -> None:
    env = {
        "MY_TOKEN": "abcd-1",
        "LORA_STUDIO_WEBHOOK": "https://x.example/abcd-1",
        "HOME": "/nowhere",
        "A_KEY": "abc",
    }
    found = known_secrets(env, others=["given"])
    assert found == ("https://x.example/abcd-1", "abcd-1", "given")
    assert (
        without_secrets("https://x.example/abcd-1 abcd-1 given abc", found)
        == f"{HIDDEN} {HIDDEN} {HIDDEN} abc"
    )
