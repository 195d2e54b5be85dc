"""The pinned public keys as data, each file with a note on where its keys come from."""
