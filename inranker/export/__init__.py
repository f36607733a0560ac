"""Rerankers for other engines: ONNX Runtime and CTranslate2.

`stage.export` writes one and holds it to the original's logits; `backends.load_backend` runs it. Importing this package
imports neither torch nor an engine.
"""
