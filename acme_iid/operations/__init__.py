"""Operations: backup, restore, pruning, and operators' work on instances."""
