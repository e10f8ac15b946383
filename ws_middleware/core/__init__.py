"""The protocol: no I/O, no clock, no third party. Bytes and times are arguments."""
