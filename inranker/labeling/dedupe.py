"""Which pairs of a unit need scoring: texts that occur twice are scored once, and what is known is not scored again.

Two pairs are the same when query and passage are, whatever their ids. N rows of a unit, S of them are scored.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

KEY = np.dtype([("high", "<u8"), ("low", "<u8")])  # 128 bits: no two texts of any corpus share one by chance
# What a scorer says of a pair of texts.
ANSWER = np.dtype([("false_logit", "<f4"), ("true_logit", "<f4"), ("n_tokens", "<i4"), ("truncated", "?")])
SOURCE = "source"
KNOWN = -1


def text_keys(queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
    """A key of the two texts of each pair: `KEY` [N], blake2b over the query's length, the query and the passage."""
    digests = []
    for query, passage in zip(queries, passages, strict=True):
        encoded = query.encode()
        digest = hashlib.blake2b(len(encoded).to_bytes(8, "little") + encoded, digest_size=16)
        digest.update(passage.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), KEY)


def first_occurrences(keys_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows at which each key occurs first, ascending, and for every row which of those it equals."""
    _, first, inverse = np.unique(keys_N, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(first), np.int64)
    place[order] = np.arange(len(first))
    return first[order], place[inverse.reshape(-1)]


def share_answers(
    ids: pa.Table, first: np.ndarray, of_row_N: np.ndarray, found: np.ndarray, known: np.ndarray
) -> tuple[pa.Table, np.ndarray]:
    """Say for every row where its answer will come from.

    Args:
        ids: the unit's rows.
        first: rows of the distinct pairs, as `first_occurrences` gives them, and `of_row_N` beside it.
        found: for each distinct pair, whether its answer is known already.
        known: the answers of those that are, `ANSWER`.

    Returns:
        `ids`, and the rows to score [S]. Unless every row is to be scored, `ids` has a column `source` (the place
        among the scored rows, `KNOWN` where nothing is to be scored) and, if any answer is known, the columns of
        `ANSWER` (null where something is to be scored).
    """
    if len(first) == ids.num_rows and not len(known):
        return ids, first
    place = np.full(len(first), KNOWN, np.int32)
    place[~found] = np.arange(int((~found).sum()), dtype=np.int32)
    ids = ids.append_column(SOURCE, pa.array(place[of_row_N]))
    if len(known):
        answers = np.zeros(len(first), ANSWER)
        answers[found] = known
        for name in ANSWER.names or ():
            ids = ids.append_column(name, pa.array(answers[name][of_row_N], mask=~found[of_row_N]))
    return ids, first[~found]


def answers_of(ids: pa.Table, scored: np.ndarray) -> np.ndarray:
    """The answer of every row [N], from the rows that were scored, `ANSWER` [S], and those that were known."""
    if SOURCE not in ids.column_names:
        return scored
    source_N = ids[SOURCE].to_numpy()
    if ANSWER.names and ANSWER.names[0] not in ids.column_names:
        return scored[source_N]
    answers = np.empty(ids.num_rows, ANSWER)
    for name in ANSWER.names or ():
        answers[name] = ids[name].fill_null(0 if name != "truncated" else False).to_numpy(zero_copy_only=False)
    to_score = source_N != KNOWN
    answers[to_score] = scored[source_N[to_score]]
    return answers


def not_scored(ids: pa.Table) -> dict[str, int]:
    """How many rows share the answer of a row that was scored (`duplicates`), and how many were known (`reused`)."""
    if SOURCE not in ids.column_names:
        return {"duplicates": 0, "reused": 0}
    source_N = ids[SOURCE].to_numpy()
    scored_N = source_N[source_N != KNOWN]
    return {"duplicates": len(scored_N) - len(np.unique(scored_N)), "reused": len(source_N) - len(scored_N)}
