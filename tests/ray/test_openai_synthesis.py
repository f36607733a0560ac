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
from tests.openai_server import OpenAIServer
from tests.unit.beir_folder import many_passages, write_beir

PASSAGES, UNIT_ROWS = 24, 4
FAULTS = {1: "429", 3: "500", 5: "no-json", 8: "cut"}  # by how many prompts were asked before


def test_a_synthesis_by_an_endpoint_stops_at_its_cost_limit_and_goes_on(ray_session: None, tmp_path: Path) -> None:
    collection = write_beir(tmp_path / "set", many_passages(PASSAGES))
    with OpenAIServer(lambda prompt, asked: None if asked else FAULTS.get(len(server.asked) % 11), key=None) as server:
        prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_tokens": 1e6}
        paid = OpenAIExecution(server.url, None, cost_limit=2500.0, **prices)
        how = SynthesizeExecution(unit_rows=UNIT_ROWS, progress=False, write_report=False, openai=paid)
        identity = SynthesizeIdentity(f"beir:{collection}", "m", "openai", prompts=["instruct"])
        config = SynthesizeConfig(identity, str(tmp_path / "out"), how)
        with pytest.raises(UserError, match=r"openai\.cost_limit"):
            synthesize(config)
        store = Store(config.output)
        done = sorted(finished_units(store))
        receipts = read_receipts(store, done)
        spent = sum(receipt.figures["spent"] for receipt in receipts)
        assert 0 < len(done) < PASSAGES // UNIT_ROWS and 0 < spent <= 2500
        asked_before = server.asked.copy()

        rich = replace(config, execution=replace(how, openai=replace(paid, cost_limit=1e6)))
        summary = synthesize(rich)
        assert summary["generated"] == summary["kept"] == PASSAGES and summary["quarantined"] == 0
        queries = pq.read_table(Path(config.output, "queries.parquet"))
        assert sorted(queries["passage_id"].to_pylist()) == sorted(f"d{number}" for number in range(PASSAGES))
        assert read_receipts(store, done) == receipts
        # What was charged and kept is counted; a request that was cut off counts as its dearest.
        assert summary["spent"] >= server.prompt_tokens + server.tokens
        asked_again = [prompt for prompt in asked_before if server.asked[prompt] > asked_before[prompt]]
        assert len(asked_again) <= UNIT_ROWS, "finished units are not asked again, one in flight may be"
        assert synthesize(rich)["skipped"]
