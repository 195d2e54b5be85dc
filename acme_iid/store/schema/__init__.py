"""The schema as numbered SQL files, one set for every engine."""
