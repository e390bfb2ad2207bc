"""Actors: one unit that takes one message at a time, for each token and each background task.

pykka on trio; knows no state:

- ``futures``      what is asked for and not there yet; the bell that wakes a task
- ``mailbox``      the bounded queue of an actor
- ``runtime``      `TrioActor`: pykka's actor, whose loop is a trio task

Who there is, and what they send each other:

- ``directory``    finds the actor of a token, activating it from its snapshot
- ``token_actor``  owns one state tree: takes events and turn requests, one at a time
- ``task_actor``   runs one background task, as a child of its token actor
- ``background_task`` its handle
- ``messages``     the frozen records that actors and connections send each other
- ``services``     what all token actors of an app share
- ``limits``       what an app bounds for each of its tokens
- ``errors``       what the program is told of what it did wrong
- ``conductor``    stands in for chance, in tests

What a token actor is made of:

- ``pages``        who looks on, and what they are told
- ``presence``     whether its tab counts as connected
- ``attendance``   what follows when pages come and go
- ``history``      the last patches, for a page that comes back
- ``tasks``        the background tasks: which run, which wait
- ``calls``        the handlers that committed turns asked for
- ``tenure``       whether the token is held, and who wants it
- ``handover``     taking it up, giving it up, and taking it up again
- ``ledger``       what the snapshot has, and what it is owed
- ``gate``         the way out of a turn: stored first, told then
- ``generators``   handlers that yield, run to their end
- ``handler_turns`` turns of handlers, here
- ``lender``       turns lent to others

A turn, from outside the token actor:

- ``turns``          how it is asked for, granted and ended
- ``door``           where it is asked for
- ``blocks``         the block under it, in a task of trio's
- ``foreign_blocks`` and in a thread, or a task of asyncio
- ``modify``         that block for code that is no handler: ``app.modify_state``
- ``holding``        for how long it is held, and circles of those who wait
- ``task_scope``     how a task that takes turns is cancelled between two of them
- ``runs``           what the running code runs as
- ``own_tasks``      tasks that a program starts under its app

- ``flavor``           whose awaitables the program's code may await
- ``asyncio_flavor``   asyncio's as well
- ``asyncio_handlers`` how handlers do that
"""
