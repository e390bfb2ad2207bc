"""The store in Redis: for more than one process, and more than one machine.

- ``store``        `RedisStore`, and what it does in the background
- ``leases``       who owns what in this process, and until when that is certain
- ``scripts``      what happens inside Redis: one Lua script a step
- ``line``         how scripts get there: in batches, and again until they are answered
- ``messages``     what processes tell each other, over Streams
- ``connections``  clients, and new ones when they fail
- ``addresses``    URLs, and the clients for them

It needs coredis: ``pip install actorstate[redis]``. Nothing else in the package imports this.
"""

from actorstate.stores.redis.store import RedisStore as RedisStore
