"""acme-iid: a private certificate authority that believes cloud instance identity documents.

The rooms, and who may lean on whom (checked by the import contract in setup.cfg)::

    web         Flask, and only here: requests in, responses out; it decides nothing
    authority   the use cases: new_order, answer_challenge, finalize, revoke, ...
    store       all the SQL
    attestation evidence in, InstanceIdentity out; pure
    admission   who is admitted, and which names an instance may hold
    issuance    keys and certificates
    protocol    RFC 8555 without I/O: resources, statuses, identifiers, CSRs
    iid01       the challenge on the wire, for clients
    binding     what ties evidence to a challenge and a key, for both sides
    errors      what every room raises

``config`` reads ca.toml, ``findings`` says what is unsafe in it, ``app.create_app`` is the only wiring, ``server``
runs it under TLS with what is in ``serving``: HTTP, one process with its loop, or several of them. ``namespace`` says
which names are issued at all, ``cli`` is acme-iid-ca and ``simulator`` stands in for the clouds' metadata services. The
client lives in client/ and leans on ``iid01``, ``binding``, ``errors`` and ``attestation`` only.
"""
