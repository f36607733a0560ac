"""Queries that a language model writes for passages of a collection, so that any corpus becomes in-domain."""
