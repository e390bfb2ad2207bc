"""Stores: where state trees rest.

- ``base``    the `Store` protocol and its contract
- ``memory``  `MemoryStore`: for as long as the process lives
- ``urls``    the store that an address names
"""
