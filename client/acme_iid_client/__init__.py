"""acme-iid: the client. A machine proves its cloud identity to the CA and gets a key and a certificate.

The packages, from the top down; each leans on lower ones only (the import contract in setup.cfg)::

    build_backend  setuptools, and the files that are made of the commands
    one_file       the client with its libraries in one file: unpacked, and run
    manual         manual pages and completions, made of the commands
    cli            acme-iid: parses and prints
    renewal        staying renewed: when a certificate is due, renewing it, the daemon
    acme           talking to a CA: known CAs, accounts, orders, revocation
    clouds         which cloud this is, and evidence from its metadata service
    storage        files on the disk: pairs of key and certificate, records, account keys
    transport      all HTTP, bounded in size and time, under the CA's own roots
    x509           keys, certificates, signing requests and names
    deadline       the time by which a command has to be done
    errors         the one error a person sees

Nothing here imports the server, but for ``acme_iid.iid01``, ``acme_iid.binding``, ``acme_iid.bounded``,
``acme_iid.errors``, ``acme_iid.terminal``, ``acme_iid.protocol.key_files`` and, for ``acme-iid verify`` alone,
``acme_iid.attestation``.
"""
