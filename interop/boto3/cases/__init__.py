"""The cases, by subject. Importing the package registers them."""

from . import batches, conditions, expressions, items, limiter, numbers, queries, streams, tables, transactions, updates  # noqa: F401
