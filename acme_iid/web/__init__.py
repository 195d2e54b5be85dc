"""Flask, and only here: requests in, responses out. Views call the authority and decide nothing."""
