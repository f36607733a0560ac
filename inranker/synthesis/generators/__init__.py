"""What writes the text: engines that run language models, by name. An engine is one file and one line here."""

from importlib import import_module
from typing import Any

from inranker.errors import UserError

GENERATORS = {
    "transformers": "inranker.synthesis.generators.transformers:TransformersGenerator",
    "openai": "inranker.synthesis.generators.openai:OpenAIGenerator",
    "vllm": "inranker.synthesis.generators.vllm:VllmGenerator",
}


def engine(name: str) -> Any:
    """The class of an engine; its module is imported when it is asked for.

    Raises:
        UserError: no engine of that name.
    """
    if name not in GENERATORS:
        raise UserError(f"field generator is {name!r}; name one of {', '.join(GENERATORS)}")
    module, _, class_name = GENERATORS[name].partition(":")
    return getattr(import_module(module), class_name)
