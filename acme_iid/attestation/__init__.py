"""Evidence in, :class:`~acme_iid.attestation.identity.InstanceIdentity` out. Pure: no I/O, no clock."""
