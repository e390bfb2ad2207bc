"""What happens inside Redis: one Lua script a step.

A script runs alone, so each of these is one step for everybody: nobody sees a commit without its
revision, or a lease that is given up and not yet handed over. Two keys belong to a token; both have
the hash tag ``{token}``, so that a cluster keeps them on one node::

    actorstate:{token}           a hash
        owner      the claim of the owner; missing if nobody has the lease
        until      when the lease runs out
        epoch      the number of the last lease that was given
        waiters    the claims of those who wait, in order, each with when it was last heard of
        revision   the number of the last commit; missing before the first
        stored     when that commit was stored
        snapshot   the last whole snapshot; missing before the first
        base       the number of the commit that came with it
    actorstate:{token}:journal   a string: the commits since, one a line, after their numbers

A script may be stopped between two writes, when the disk fails. So what counts is in the hash, and
written by one command: of the journal those lines count whose number is between ``base`` and
``revision``, and of two with one number the later (`read_journal`).

A claim names one try of one process to become the owner, ``<process>.<number>``, and is never used
again. So it is a fence of its own, beside the epoch: that begins anew with a token that was deleted
(by the clock, so that it is higher than before; but clocks can be set).

All times are milliseconds by the clock of this server, which is the only one that has a say in
whose lease it is.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

import attrs

# What the answers of `COMMIT` and `RENEW` mean.
LOST: Final = -1
"""It is somebody else's; nothing was done."""
KEPT: Final = 0
"""It is still the owner's, and nobody waits for it."""
WANTED: Final = 1
"""It is still the owner's, and somebody waits for it."""


def read_journal(journal: bytes, base: int, revision: int) -> list[bytes]:
    r"""Give the commits in a journal that came after a snapshot.

    >>> read_journal(b"1 a\n2 b\n3 not finished\n3 c\n4 not finished\n", 1, 3)
    [b'b', b'c']
    """
    found: dict[int, bytes] = {}
    for line in journal.split(b"\n")[:-1]:
        number, _, commit = line.partition(b" ")
        if base < int(number) <= revision:
            found[int(number)] = commit
    return list(found.values())


@final
@attrs.frozen
class Script:
    """A Lua script, and the name that Redis has for it."""

    source: str
    sha: str


def _script(body: str) -> Script:
    source = _COMMON + body
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


_COMMON: Final = """
local tree, journal = KEYS[1], KEYS[2]

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The waiters as a list of {claim, when it was last heard of}, without one of them.
local function waiting(text, without)
  local list = {}
  for claim, heard in string.gmatch(text or '', '(%S+) (%d+)') do
    if claim ~= without then
      list[#list + 1] = {claim, tonumber(heard)}
    end
  end
  return list
end

local function keep_waiting(list)
  local parts = {}
  for i, waiter in ipairs(list) do
    parts[i] = string.format('%s %d', waiter[1], waiter[2])
  end
  if #parts > 0 then
    redis.call('HSET', tree, 'waiters', table.concat(parts, ' '))
  else
    redis.call('HDEL', tree, 'waiters')
  end
end

local function own(claim, expires)
  -- By the clock to the microsecond, for a token that is new or was deleted.
  local time = redis.call('TIME')
  redis.call('HSETNX', tree, 'epoch', string.format('%d', time[1] * 1000000 + time[2]))
  redis.call('HINCRBY', tree, 'epoch', 1)
  redis.call('HSET', tree, 'owner', claim, 'until', expires)
end

local function read()
  local h = redis.call('HMGET', tree, 'revision', 'base', 'snapshot')
  return {h[1], h[2], h[3], redis.call('GET', journal)}
end
"""

ACQUIRE: Final = _script("""
local claim, ttl = ARGV[1], tonumber(ARGV[2])
local h = redis.call('HMGET', tree, 'owner', 'until', 'waiters')
local owner, expires, time = h[1], tonumber(h[2] or 0), now()

-- It is there already if it was handed over, or if the answer to this got lost on its way.
if owner ~= claim then
  if owner and expires > time then
    local list, is_known = waiting(h[3]), false
    for _, waiter in ipairs(list) do
      if waiter[1] == claim then
        waiter[2], is_known = time, true
      end
    end
    if not is_known then
      list[#list + 1] = {claim, time}
    end
    keep_waiting(list)
    return {0, owner, expires - time}
  end
  own(claim, time + ttl)
end

local others = waiting(h[3], claim)
keep_waiting(others)
redis.call('HSET', tree, 'until', time + ttl)
return {1, #others, redis.call('HGET', tree, 'epoch'), read()}
""")
"""Become the owner and read, or join those who wait.

Args: claim, time to live. Gives 1, how many wait, the epoch, and what `READ` gives; or 0, the
owner, the rest of its time.
"""

COMMIT: Final = _script("""
local claim, epoch, ttl, revision = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local h = redis.call('HMGET', tree, 'owner', 'epoch', 'revision', 'waiters')
local stored = tonumber(h[3] or 0)
-- A gap means that this server has lost what it had said to have, as one that does not write to
-- disk at once may when it crashes.
if h[1] ~= claim or h[2] ~= epoch or stored < revision - 1 then
  return -1
end
local time = now()
if stored >= revision then  -- it is here already: it was the answer that got lost
  redis.call('HSET', tree, 'until', time + ttl)
elseif ARGV[5] == 'whole' then
  redis.call('HSET', tree, 'until', time + ttl, 'revision', revision, 'stored', time,
             'snapshot', ARGV[6], 'base', revision)
  redis.call('DEL', journal)
else
  redis.call('APPEND', journal, revision .. ' ' .. ARGV[6] .. '\\n')
  redis.call('HSET', tree, 'until', time + ttl, 'revision', revision, 'stored', time)
end
return h[4] and 1 or 0
""")
"""Store one commit, and renew the lease.

Args: claim, epoch, time to live, revision, ``whole`` or ``patch``, the bytes. Gives `LOST`, `KEPT`
or `WANTED`.
"""

RENEW: Final = _script("""
local claim, epoch, ttl, revision = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local h = redis.call('HMGET', tree, 'owner', 'epoch', 'revision', 'waiters')
if h[1] ~= claim or h[2] ~= epoch or tonumber(h[3] or 0) < revision then
  return -1
end
redis.call('HSET', tree, 'until', now() + ttl)
return h[4] and 1 or 0
""")
"""Renew a lease. Args: claim, epoch, time to live, revision. Gives what `COMMIT` gives."""

RELEASE: Final = _script("""
local claim, ttl, patience = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local h = redis.call('HMGET', tree, 'owner', 'waiters', 'revision')
local list, time = waiting(h[2], claim), now()
if h[1] ~= claim then
  if h[2] then
    keep_waiting(list)
  end
  return false
end
while list[1] and list[1][2] < time - patience do
  table.remove(list, 1)  -- it is dead: who lives asks again from time to time
end
local first = table.remove(list, 1)
if not first and not h[3] then
  redis.call('DEL', tree, journal)  -- nothing was ever stored, and nothing is to be left
  return false
end
keep_waiting(list)
if not first then
  redis.call('HDEL', tree, 'owner', 'until')
  return false
end
own(first[1], time + ttl)
return first[1]
""")
"""Give a lease up, to the first of those who wait; or wait no longer.

Args: claim, time to live of the lease of who gets it, how long one who waits may not be heard of.
Gives the claim of who has it now.
"""

READ: Final = _script("""
return read()
""")
"""Read without owning. Gives revision, base, snapshot, journal."""

DELETE: Final = _script("""
return redis.call('DEL', tree, journal)
""")
"""Forget a token, whoever owns it."""

EXPIRE: Final = _script("""
local h = redis.call('HMGET', tree, 'owner', 'until', 'stored')
local time, expires = now(), tonumber(h[2] or 0)
if (h[1] and expires > time) or tonumber(h[3] or expires) > time - tonumber(ARGV[1]) then
  return 0
end
return redis.call('DEL', tree, journal) > 0 and h[3] and 1 or 0
""")
"""Forget a token if its last commit is so many milliseconds ago and nobody owns it.

Gives 1 if something was forgotten.
"""

HAS: Final = _script("""
return redis.call('HEXISTS', tree, 'revision')
""")
"""Tell whether something was ever stored."""

TELL: Final = _script("""
redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
""")
"""Tell a process something, by its Stream. Args: its time to live; what; of which claim."""

SIGNING_KEY: Final = _script("""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
""")
"""Give the key that all processes sign with. Args: what it shall be if there is none yet."""

LIVE: Final = _script("""
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
""")
"""Be alive, for so long. The key is that of an app."""

IS_ALIVE: Final = _script("""
return redis.call('EXISTS', KEYS[1])
""")
"""Tell whether an app is alive."""

DIE: Final = _script("""
return redis.call('DEL', KEYS[1])
""")
"""Be alive no longer."""
