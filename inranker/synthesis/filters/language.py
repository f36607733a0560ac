"""The filter of queries in another language than the collection's."""

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.raw import Asked


def language(asked: Asked, context: Context) -> Verdict:
    """Likely enough to be in the collection's language, as py3langid tells by the query's bytes.

    A query of a few words, half of them names, seldom has a clear language, so only a query that is almost certainly in
    another one goes: the bound is on the probability of the right language, not on the first guess. At 0.02, people's
    own English queries are lost in one of a thousand cases for SciFact and one of fifty for MS MARCO, and 998 of a
    thousand Portuguese questions (FaQuAD) are found among them.

    Raises:
        UserError: py3langid does not know the language.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    wanted = context.collection.language.lower().partition("-")[0]
    if wanted not in identifier.labels:
        raise UserError(
            f"filter language: {context.collection.language!r} is no language that py3langid knows; leave the filter "
            "out, or give the collection's language as an ISO 639-1 code"
        )
    probability_N = np.fromiter(
        (dict(identifier.rank(query))[wanted] for query in asked.table["query"].to_pylist()), np.float32, len(asked)
    )
    return Verdict(
        probability_N >= context.options.language_probability, {"language_probability": pa.array(probability_N)}
    )
