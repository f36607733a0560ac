"""A synthesis whose queries come from an endpoint: a whole job on Ray, through faults and past its cost limit."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inranker.errors import UserError
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig, SynthesizeExecution, SynthesizeIdentity
from inranker.synthesis.factory import synthesize
from inranker.synthesis.generators.openai import OpenAIExecution
from inranker.units import finished_units, read_receipts
from tests.openai_server import OpenAIServer, answer_to
from tests.unit.beir_folder import many_passages, write_beir

PASSAGES, UNIT_ROWS = 24, 4
FAULTS = {1: "429", 3: "500", 5: "no-json", 8: "cut"}  # by how many prompts were asked before


def passages_of(store: Store, name: str) -> list[str]:
    """The passages of a unit's data."""
    with store.open(name) as file:
        return pq.read_table(file)["passage"].to_pylist()


def test_a_synthesis_by_an_endpoint_stops_at_its_cost_limit_and_goes_on(ray_session: None, tmp_path: Path) -> None:
    # Told apart by their numbers: words alone repeat.
    passages = [{**row, "text": f"{number:02d} {row['text']}"} for number, row in enumerate(many_passages(PASSAGES))]
    collection = write_beir(tmp_path / "set", passages)
    with OpenAIServer(lambda prompt, asked: None if asked else FAULTS.get(len(server.asked) % 11), key=None) as server:
        prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_tokens": 1e6}
        paid = OpenAIExecution(server.url, None, cost_limit=1500.0, **prices)
        how = SynthesizeExecution(unit_rows=UNIT_ROWS, progress=False, write_report=False, openai=paid)
        identity = SynthesizeIdentity(f"beir:{collection}", "m", "openai", prompts=["instruct"])
        config = SynthesizeConfig(identity, str(tmp_path / "out"), how)
        with pytest.raises(UserError, match=r"openai\.cost_limit"):
            synthesize(config)
        store = Store(config.output)
        done = sorted(finished_units(store))
        receipts = read_receipts(store, done)
        spent = sum(receipt.figures["spent"] for receipt in receipts)
        assert 0 < len(done) < PASSAGES // UNIT_ROWS and 0 < spent <= 1500
        asked_before = server.asked.copy()

        rich = replace(config, execution=replace(how, openai=replace(paid, cost_limit=1e6)))
        summary = synthesize(rich)
        assert summary["generated"] == summary["kept"] == PASSAGES and summary["quarantined"] == 0
        queries = pq.read_table(Path(config.output, "queries.parquet"))
        assert sorted(queries["passage_id"].to_pylist()) == sorted(f"d{number}" for number in range(PASSAGES))
        assert read_receipts(store, done) == receipts
        asked_again = [prompt for prompt in asked_before if server.asked[prompt] > asked_before[prompt]]
        finished = [passage for receipt in receipts for passage in passages_of(store, receipt.data.name)]
        assert not [prompt for prompt in asked_again if any(passage in prompt for passage in finished)]
        # Receipts count what was charged and kept, a request that was cut off as its dearest; not units in flight.
        lost = sum(len(prompt.split()) + len(answer_to(prompt).split()) for prompt in asked_again)
        assert summary["spent"] >= server.prompt_tokens + server.tokens - lost
        assert synthesize(rich)["skipped"]
