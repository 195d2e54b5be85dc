"""All the SQL, and nothing else knows any.

``database.py`` opens an engine; the other modules are functions over a :class:`~acme_iid.store.database.Database`
or an open :class:`~acme_iid.store.database.Transaction`, one module a table family. Functions that
write take a Transaction, so that a use case decides what is committed together.
"""
