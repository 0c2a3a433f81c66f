"""The installation's secret key, and what it signs."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion import signing
from clarion.errors import SettingError
from clarion.signing import key_fingerprint, key_place, keyed_hash, secret_key, sign, verify

KEY = "k" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, without a key in it or in the settings."""
    monkeypatch.delenv("CLARION_SECRET_KEY", raising=False)
    monkeypatch.setenv("CLARION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_secret_key_is_made_once_for_its_owner_alone(home: Path):
    """The first use makes the file, which nobody else may read; the next ones find it."""
    key = secret_key()
    signing._key.cache_clear()
    assert secret_key() == key
    assert len(key) >= 32
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    assert [each.name for each in home.iterdir()] == ["secret.key"]


def test_secret_key_that_many_make_at_once_is_one(home: Path):
    """Whoever comes second takes the key that is there, and leaves nothing behind."""
    home.mkdir()
    file = home / "secret.key"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(signing._make, [file] * 40))
    assert [each.name for each in home.iterdir()] == ["secret.key"]
    key = file.read_text(encoding="ascii")
    signing._make(file)
    assert file.read_text(encoding="ascii") == key


def test_secret_key_of_the_setting_goes_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch):
    """With the setting no file is made."""
    monkeypatch.setenv("CLARION_SECRET_KEY", KEY)
    assert secret_key() == KEY.encode()
    assert not home.exists()


def test_secret_key_that_is_short_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Short keys are refused, wherever they stand, and never told."""
    monkeypatch.setenv("CLARION_SECRET_KEY", "hunter2")
    with pytest.raises(SettingError, match="CLARION_SECRET_KEY: is too short") as caught:
        secret_key()
    assert "hunter2" not in caught.value.message
    monkeypatch.delenv("CLARION_SECRET_KEY")
    home.mkdir()
    for content in (b"", b"short", "ключ".encode() * 20):
        (home / "secret.key").write_bytes(content)
        with pytest.raises(SettingError, match=r"secret\.key: is too short"):
            secret_key()


def test_secret_key_without_a_folder_to_write_to_names_the_setting(home: Path):
    """A home that is a file is told as such."""
    home.write_text("no folder")
    with pytest.raises(SettingError, match="CLARION_SECRET_KEY"):
        secret_key()


@given(message=st.binary(max_size=50), other=st.binary(max_size=50), purpose=st.sampled_from(["a", "b"]))
def test_signature_is_of_one_message_and_one_purpose(message: bytes, other: bytes, purpose: str):
    """Only the message that was signed, for the purpose it was signed for, verifies."""
    signature = sign(message, purpose=purpose)
    assert len(signature) == 8
    assert verify(message, signature, purpose=purpose)
    assert verify(other, signature, purpose=purpose) == (other == message)
    assert not verify(message, signature, purpose="c")
    assert not verify(message, signature[:-1], purpose=purpose)


def test_fingerprint_tells_keys_apart(monkeypatch: pytest.MonkeyPatch):
    """It is the key's own, it is not in what is signed, and an error can say where the key is from."""
    monkeypatch.setenv("CLARION_SECRET_KEY", "a" * 40)
    fingerprint = key_fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", fingerprint)
    assert fingerprint == key_fingerprint() != keyed_hash("")[:16]
    assert key_place() == "CLARION_SECRET_KEY"
    monkeypatch.setenv("CLARION_SECRET_KEY", "b" * 40)
    assert key_fingerprint() != fingerprint
    monkeypatch.delenv("CLARION_SECRET_KEY")
    monkeypatch.setenv("CLARION_HOME", "/somewhere")
    assert key_place() == str(Path("/somewhere/secret.key"))


def test_keyed_hash_depends_on_the_key(monkeypatch: pytest.MonkeyPatch):
    """An address always has the same hash; who has another key gets another one."""
    monkeypatch.setenv("CLARION_SECRET_KEY", KEY)
    hashed = keyed_hash("447700900123")
    assert hashed == keyed_hash("447700900123") != keyed_hash("447700900124")
    assert len(bytes.fromhex(hashed)) == 32
    monkeypatch.setenv("CLARION_SECRET_KEY", KEY.upper())
    assert keyed_hash("447700900123") != hashed
