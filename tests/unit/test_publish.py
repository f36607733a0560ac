"""Publishing: what goes out is a checkpoint that loads, with a card; a hub's answers, stood in for on loopback."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from inranker import Ranker
from inranker.errors import UserError
from inranker.publish import PublishConfig, publish

TOKEN = "hf_for_tests_alone"
REPO = "somebody/small-reranker"


@pytest.fixture
def model(teacher: Path, tmp_path: Path) -> Path:
    """A checkpoint with things beside it that are nobody's business."""
    folder = tmp_path / "job" / "student"
    folder.mkdir(parents=True)
    for file in teacher.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "optimizer.state").write_text("large")
    (folder / ".env").write_text("SECRET=1")
    return folder


def evaluation(folder: Path, **systems: dict[str, float]) -> str:
    summary = {"collection": "beir/scifact", "split": "test", "depth": 100, "systems": systems}
    (folder / "evaluation.json").write_text(json.dumps(summary))
    return str(folder / "evaluation.json")


def test_a_folder_gets_what_loads_and_nothing_else(model: Path, tmp_path: Path) -> None:
    summary = publish(PublishConfig(str(model), output=str(tmp_path / "out")))
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == set(summary["files"]) and {"model.safetensors", "reranker.json", "README.md"} <= names
    assert not names & {"optimizer.state", ".env"}
    pairs = [("open file", "close the stream")]
    published, source = (Ranker(path, precision="float32", threads=1) for path in (tmp_path / "out", model))
    assert published.score(pairs).tolist() == source.score(pairs).tolist()
    assert summary["url"] is None


def test_the_card_says_what_the_checkpoint_is_and_what_was_measured(model: Path, tmp_path: Path) -> None:
    measured = evaluation(tmp_path, bm25={"nDCG@10": 0.678}, student={"nDCG@10": 0.70128, "R@100": 0.9253})
    config = PublishConfig(str(model), output=str(tmp_path / "out"), licence="apache-2.0", evaluation=[measured])
    publish(config)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("apache-2.0", "text-ranking")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"nDCG@10": 0.7013, "R@100": 0.9253}
    assert "| beir/scifact (test) | 100 | 0.7013 | 0.9253 |" in card.text
    # The card's own code runs and gives the scores.
    code = re.search(r"```python\n(from inranker.*?)```", card.text, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"place": str(model), "query": "open file", "passages": ["close the stream", "sort"]}
    exec(code[1], names)
    expected = Ranker(model).score([("open file", passage) for passage in names["passages"]])
    assert names["scores"].tolist() == pytest.approx(expected.tolist(), abs=0.05)


def test_a_card_that_training_left_is_kept(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlanguage: pt\n---\n# Nosso modelo\n\nTexto.\n")
    publish(PublishConfig(str(model), output=str(tmp_path / "out"), licence="mit"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.language, card.data.license) == ("pt", "mit") and "# Nosso modelo\n\nTexto." in card.text


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin is pickled"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "reranker.json").unlink(), "no reranker.json in it"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (
            lambda folder: [file.unlink() for file in (*folder.glob("*token*"), *folder.glob("*.model"))],
            "not a single entry of this tokenizer",
        ),
    ],
)
def test_what_nobody_could_load_is_not_published(model: Path, tmp_path: Path, spoil: Any, sentence: str) -> None:
    spoil(model)
    with pytest.raises(UserError, match=sentence):
        publish(PublishConfig(str(model), output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_wrong_fields_are_sentences(model: Path, tmp_path: Path) -> None:
    config = PublishConfig(str(model), output=str(tmp_path / "out"))
    for changes, sentence in (
        ({"output": None}, "nowhere to publish to"),
        ({"repo": "name"}, "'name' is not organisation/name"),
        ({"output": str(model)}, "is there and not empty"),
        ({"evaluation": [evaluation(tmp_path, bm25={})]}, "no system 'student' in it .bm25."),
        ({"evaluation": [str(tmp_path / "none")]}, "cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            publish(replace(config, **changes))  # type: ignore[arg-type]


class Hub(ThreadingHTTPServer):
    """The four answers of a hub that an upload of small files needs; large ones (LFS, Xet) are not stood in for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.messages: list[str] = []


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid credentials"})
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            self.server.repositories[f"{wanted.get('organization')}/{wanted['name']}"] = json.dumps(wanted)  # type: ignore[assignment]
            self.answer(200, {"url": f"{self.endpoint}/{REPO}"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif self.path == f"/api/models/{REPO}/preupload/main":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif self.path == f"/api/models/{REPO}/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    self.server.messages.append(line["value"]["summary"])
                else:
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, {"commitUrl": f"{self.endpoint}/{REPO}/commit/1", "commitOid": "1", "success": True})
        else:
            self.answer(404, {"error": self.path})

    def do_GET(self) -> None:
        self.answer(404, {"error": self.path})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_gets_one_commit_of_the_same_files(model: Path, tmp_path: Path, hub: Hub) -> None:
    config = PublishConfig(str(model), repo=REPO, output=str(tmp_path / "out"), message="The small one")
    summary = publish(config)
    assert summary["url"].endswith(f"{REPO}/commit/1")
    assert hub.files == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert hub.messages == ["The small one"]
    assert '"private": true' in str(hub.repositories[REPO]) or '"visibility": "private"' in str(hub.repositories[REPO])


def test_a_hub_that_refuses_or_is_away_is_a_sentence(model: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"the hub refused .*401"):
        publish(PublishConfig(str(model), repo=REPO))
    assert not hub.files
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        publish(PublishConfig(str(model), repo=REPO))
