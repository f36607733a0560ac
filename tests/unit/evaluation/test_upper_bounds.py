"""A student that was trained on test queries is known as such, through its start as well."""

from pathlib import Path

from inranker.evaluation.systems import parse_systems
from inranker.evaluation.upper_bounds import trained_on_test, upper_bound_note
from inranker.manifest import Manifest, write_manifest
from inranker.storage import Store


def student(folder: Path, identity: dict[str, object], inputs: dict[str, dict[str, object]]) -> Path:
    (folder / "student").mkdir(parents=True)
    write_manifest(Store(str(folder)), Manifest("train", "f", identity, inputs))
    return folder / "student"


def test_test_queries_behind_a_student_and_its_start_are_found(tmp_path):
    def pairs(name, split):
        return {"inputs": {"collection": {"name": name, "split": split}}}

    said = {"trains_on_test": True}
    inputs = {
        "pairs_1": pairs("beir/scifact", "test"),
        "pairs_2": pairs("beir/nq", "nq"),
        "pairs_3": pairs("x", "train"),
    }
    first = student(tmp_path / "first", said, inputs)
    second = student(tmp_path / "second", {}, {"pairs": pairs("x", "train"), "start": {"path": str(first)}})
    clean = student(tmp_path / "clean", {}, {"pairs": pairs("x", "train")})
    found = trained_on_test(parse_systems(["bm25", f"one={first}", f"two={second}", f"three={clean}"]))
    assert found == {"one": ["beir/nq", "beir/scifact"], "two": ["beir/nq", "beir/scifact"]}
    assert upper_bound_note(found, "beir16/scifact").splitlines() == [
        "upper bound: one was trained on these queries",
        "upper bound: two was trained on these queries",
    ]
    assert "though not of this collection" in upper_bound_note(found, "beir/fiqa")
    assert upper_bound_note({}, "beir/fiqa") == ""
