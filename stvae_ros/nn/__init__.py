"""Networks and their layers: torch only, one idea a file."""
