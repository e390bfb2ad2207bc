"""The state model: vars, handlers, turns and patches, without an event loop.

Nothing here awaits, and nothing here knows trio or pykka: what a turn does to a state tree is
decided and tested in this room alone. The rooms above bring turns in and carry patches out.

What a program writes:

- ``definition``   what the body of a State class becomes
- ``state``        the State class
- ``vars``         one typed field of a state
- ``computed``     vars that follow from others, as they are declared
- ``handlers``     the methods that events run
- ``methods``      what their parameters take, from JSON and back
- ``invocations``  handlers with arguments
- ``hooks``        the methods that the library runs
- ``task_options`` how a background task goes with others
- ``effects``      what a handler may ask the browser to do
- ``urls``         which URLs run code, and are refused
- ``router``       where the browser is
- ``expressions``  what ``MyState.counter`` on the class is: a computation for the browser, as data
- ``marks``        how an expression stands in an f-string

Values, and what becomes of them:

- ``json_types``   the JSON form of each type
- ``convert``      strict conversion between typed values and their JSON form
- ``shapes``       what a declared type says about values: checks them, and makes the state's copies
- ``tracked``      lists, dicts, sets and instances that note every change
- ``nodes``        where a tracked value hangs in the state
- ``changes``      the log of a turn: undone backwards, folded forwards
- ``patch``        RFC 6902 operations
- ``record``       the base of the records of which every turn makes some

One tab:

- ``schema``       all State classes of an app
- ``tree``         the instances of one token
- ``places``       one var of one tree: where its value is, and the only way to change it
- ``turn``         the exclusive right to change one tree, from grant to commit or rollback
- ``holders``      who may write under it: known by context
- ``commit``       what one turn did, for the store and for everyone else
- ``evaluation``   computed vars kept up to date
- ``untouched``    what a browser sees of what nobody has touched
- ``labels``       how tokens are named in logs

At rest:

- ``snapshot``     a tree as it rests, and what else has to outlive its actor
- ``migration``    a snapshot of other State classes brought to these
- ``fingerprint``  what tells that the classes are others
"""
