"""What operators are shown, in the fields that commands print as JSON and the admin API answers."""
