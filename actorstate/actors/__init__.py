"""Actors: one unit that takes one message at a time, for each token and each background task.

- ``runtime``     pykka's actors on trio: `TrioActor`, `Mailbox`, `TrioFuture`; knows no state
- ``messages``    the frozen records that actors and connections send each other
- ``turns``       how a turn is asked for, held and ended from outside the token actor
- ``generators``  handlers that yield, run to their end
- ``gate``        the way out of a turn: stored first, told then
- ``task_actor``  runs one background task, as a child of its token actor
- ``token_actor`` owns one state tree: takes events and turn requests, one at a time
- ``directory``   finds the actor of a token, activating it from its snapshot
"""
