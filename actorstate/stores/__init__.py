"""Stores: where state trees rest.

- ``base``    the `Store` protocol and its contract
- ``journal`` snapshots and commits as bytes, and when to write which
- ``owners``  who owns which token, in one process
- ``memory``  `MemoryStore`: for as long as the process lives
- ``sqlite``  `SQLiteStore`: a file, for one process
- ``redis``   `RedisStore`: for more than one process; a room of its own
- ``inspect`` what is in a store, for people to read
- ``urls``    the store that an address names
"""
