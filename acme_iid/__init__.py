"""acme-iid: a private certificate authority that believes cloud instance identity documents.

The packages, from the top down; each leans on lower ones only (the import contract in setup.cfg)::

    cli         acme-iid-ca: parses and prints
    app         the only wiring: settings in, an application out
    web         Flask, and only here: requests in, responses out; it decides nothing
    admin       the admin process: acts that operators ask for over a socket or TLS, each with a role
    console     pages that show operators what the admin API answers
    admin_client  asks the admin API, over its socket or TLS
    operations  backup, restore, pruning, and operators' work on instances
    authority   the use cases, such as ``orders.new_order``, ``challenges.answer`` and ``finalization.finalize``
    serving     HTTP over TLS: processes, loops and sockets; it knows no application
    config      ca.toml in, settings out, and findings about unsafe ones
    validation  the standard challenges: http-01, dns-01, tls-alpn-01, ...
    store       all the SQL
    issuance    keys and certificates
    policy      who is admitted, and which names an instance or a host may hold; no I/O
    telemetry   reports of what was committed, and the numbers that Prometheus reads
    simulator   stands in for the clouds' metadata services
    attestation evidence in, ``identity.InstanceIdentity`` out
    signing     keys in tokens and behind programs: asked for signatures, which are checked
    protocol    RFC 8555 without I/O: resources, statuses, identifiers, CSRs
    iid01       the challenge on the wire, for clients
    binding     ties evidence to a challenge and a key, for both sides
    errors      the errors that every package raises
    bounded     answers over HTTP that end: limits of octets and time, for both sides
    durable     files that survive a power failure
    systemd     messages to systemd, for both sides
    terminal    durations and tables, as people read and write them, for both sides

The client lives in client/ and leans on ``iid01``, ``binding``, ``bounded``, ``errors``, ``systemd``,
``terminal``, ``protocol.key_files`` and, for one command, ``attestation``.
"""
