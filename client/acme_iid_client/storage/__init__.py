"""Files on the disk: pairs of key and certificate, records, account keys."""
