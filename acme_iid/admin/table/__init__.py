"""The acts that operators may ask for, a module for each subject."""
