"""The state model: vars, handlers, turns and patches, without an event loop.

Nothing here awaits, and nothing here knows trio or pykka: what a turn does to a state tree is
decided and tested in this room alone. The rooms above bring turns in and carry patches out.

- ``expressions``  what ``MyState.counter`` on the class is: a computation for the browser, as data
- ``convert``      strict conversion between typed values and their JSON form
- ``values``       the state's own copies of containers
- ``vars``         one typed field of a state
- ``handlers``     the methods that events run
- ``patch``        RFC 6902 operations
- ``turn``         the exclusive right to change one tree, from grant to commit or rollback
- ``definition``   what the body of a State class becomes
- ``state``        the State class
- ``tree``         the instances of one token, and the schema of all State classes of an app
"""
