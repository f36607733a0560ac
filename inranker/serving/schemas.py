"""Requests and answers, as clients of Cohere, Jina and text-embeddings-inference write and read them.

Fields that those services know and this one has no use for are accepted and ignored.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

Text = Annotated[StrictStr, Field(min_length=1, pattern=r"\S")]
Count = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


class TextObject(BaseModel):
    """A document with fields; its `text` is what is read unless `rank_fields` names others."""

    model_config = ConfigDict(extra="allow")

    text: StrictStr | None = Field(None, description="what is read; needed unless rank_fields names other fields")


class RerankRequest(BaseModel):
    """A query and documents to be ranked for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"query": "how do reefs form", "documents": ["Corals build reefs.", "Trains are late."]}]
        }
    )

    query: Text | TextObject = Field(description="what is searched for")
    documents: Annotated[list[StrictStr | TextObject], Field(min_length=1)] = Field(description="what to rank")
    model: StrictStr | None = Field(None, description="a name of /v1/models; others mean the default, unless refused")
    top_n: Count | None = Field(None, description="how many results to return; all when absent")
    return_documents: StrictBool | None = Field(None, description="whether results carry their document's text")
    rank_fields: list[StrictStr] | None = Field(None, description="fields of document objects to read, in this order")
    max_tokens_per_doc: Count | None = Field(None, description="tokens of a document to read at most")


class TextsRequest(BaseModel):
    """The same as text-embeddings-inference asks it."""

    query: Text = Field(description="what is searched for")
    texts: Annotated[list[StrictStr], Field(min_length=1)] = Field(description="what to rank")
    raw_scores: StrictBool = Field(False, description="scores that rank (logits) instead of probabilities")
    return_text: StrictBool = Field(False, description="whether results carry their text")


class CompareRequest(BaseModel):
    """A query, and passages or (where a collection is loaded) nothing else: the page's question."""

    query: Text = Field(description="what is searched for")
    passages: Annotated[list[StrictStr], Field(min_length=1)] | None = Field(
        None, description="what to rank; absent: the collection is searched"
    )
    depth: Annotated[StrictInt, Field(ge=1, le=200)] = Field(20, description="passages to retrieve of the collection")


class ResultDocument(BaseModel):
    """A document in an answer."""

    text: str


class Result(BaseModel):
    """A document in its place."""

    index: int = Field(description="its place in the request, from 0")
    relevance_score: float = Field(ge=0, le=1, description="calibrated probability; the order is by the margin")
    document: ResultDocument | None = None


class Usage(BaseModel):
    """Tokens read, as Jina counts them."""

    total_tokens: int
    prompt_tokens: int


class RerankResponse(BaseModel):
    """Results, best first."""

    id: str
    model: str
    results: list[Result]
    usage: Usage
    meta: dict[str, Any] = Field(description="api_version, billed_units and tokens, as Cohere writes them")


class TextsResult(BaseModel):
    """A text in its place."""

    index: int
    score: float
    text: str | None = None


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "inranker"
    max_length: int = Field(description="tokens of a pair that it reads")


class Models(BaseModel):
    """The models that are served, the default first."""

    object: str = "list"
    data: list[Model]


class ComparedPassage(BaseModel):
    """A passage that was ranked."""

    id: str
    title: str
    text: str


class Place(BaseModel):
    """A passage in a system's ranking; `index` is its place in `passages`."""

    index: int
    score: float
    probability: float | None = None


class System(BaseModel):
    """A system's ranking, best first, and how long it took."""

    name: str
    kind: str
    milliseconds: float
    results: list[Place]


class CompareResponse(BaseModel):
    """Rankings of the same passages, side by side."""

    source: str
    passages: list[ComparedPassage]
    systems: list[System]


class Status(BaseModel):
    """Whether the server lives, or takes requests."""

    status: str


class Problem(BaseModel):
    """One sentence that says what is wrong and what to do."""

    message: str
    detail: str
    error: str
