"""Pages of a loopback process that show operators what the admin API answers."""
