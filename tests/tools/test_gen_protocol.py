from pathlib import Path

import gen_protocol
import pytest

from schannel import layouts
from schannel.framing import Refusal
from schannel.handshake import _IDENTITY_LABEL, _PROLOGUE_LABEL
from schannel.messages import MESSAGES
from schannel.receipts import _SIGNED_LABEL
from schannel.wire import Layout


def test_the_committed_page_is_current() -> None:
    assert gen_protocol.main(["--check"]) == 0


def test_every_layout_and_refusal_is_on_the_page() -> None:
    page = gen_protocol.PAGE.read_text()
    for name, layout in vars(layouts).items():
        if isinstance(layout, Layout):
            assert f"### {name}: {layout.name}\n" in page
            assert all(f"| `{field}` | " in page for field in layout.fields)
    for number, kind in MESSAGES.items():
        assert f"### {number}: {kind.title}\n" in page
        assert f"| {kind.title} | {number} |" in page
        assert all(f"| `{field}` | " in page for field in kind.layout.fields)
    for refusal in Refusal:
        assert f"| {refusal.value} | {refusal.name} | {refusal.shown} |" in page


@pytest.mark.parametrize("label", [_PROLOGUE_LABEL, _IDENTITY_LABEL, _SIGNED_LABEL])
def test_labels_are_the_codes(label: bytes) -> None:
    assert label.endswith(b"\0")
    assert f"`{label[:-1].decode()}`, a zero byte" in gen_protocol.PAGE.read_text().replace("\n", " ")


def test_a_page_that_is_not_current_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "docs" / "protocol.md"
    page.parent.mkdir()
    page.write_text(gen_protocol.PAGE.read_text().replace("| `kind` | u8 |", "| `kind` | u16 |"))
    monkeypatch.setattr(gen_protocol, "PAGE", page)
    monkeypatch.setattr(gen_protocol, "ROOT", tmp_path)
    assert gen_protocol.main(["--check"]) == 1
    assert "docs/protocol.md is not current" in capsys.readouterr().err
    assert gen_protocol.main([]) == 0
    assert gen_protocol.main(["--check"]) == 0


def test_a_page_without_marks_is_no_page() -> None:
    with pytest.raises(ValueError, match="constants"):
        gen_protocol.page("# Something else\n")
