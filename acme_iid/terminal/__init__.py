"""Text that both commands write for people and read from them. It imports nothing of the project, and no click."""
