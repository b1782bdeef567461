-- The freezes of the fleet: one list with a version, under the fleet's own prefix `{fleet}`. Each tenant has a
-- copy beside its rows, where its reserve reads it; the newest version wins, so that no late copy brings a
-- lifted freeze back.

local raw, lifted = call('GET', P .. ':freezes'), nil
local all = raw and unpack_row(raw) or { version = 0, list = {} }
-- A stop does one of three things: a person's refuses, a brake holds, one that was released does nothing any more.
local function gone(freeze)
  -- Whoever looks at brakes may have an old copy: it lifts what is over here, too.
  local due = not A.if_over or freeze.ends and freeze.ends <= now.at
  if A.lift then return freeze.id == A.lift and freeze.stops ~= 'nothing' and due end
  if A.put then return freeze.id == A.put.id end
  -- That a brake was released is put on record by whoever looks at brakes.
  return A.prune and freeze.stops ~= 'held' and freeze.ends and freeze.ends <= now.at
end
local left = keep(all.list, function(freeze)
  if gone(freeze) then lifted = freeze end
  return not gone(freeze)
end)
local function add(freeze)
  table.insert(left, freeze)
  table.sort(left, function(a, b) return before(a.id, b.id) end)
end
-- One that was released does not come back by what was counted from before.
local late = A.put and A.put.stops == 'held' and lifted and lifted.stops == 'nothing' and A.put.at < lifted.at
if late then add(lifted) end
if A.put and not late then
  A.put.at = now.at
  -- A brake that is on already stays what it is, since then: only its end is another.
  local on = lifted and lifted.stops == 'held' and not (lifted.ends and lifted.ends <= now.at)
  if on and A.put.stops == 'held' then A.put.at, A.put.reason = lifted.at, lifted.reason end
  add(A.put)
end
-- Of a brake stays when it was released: it does not trip again by what came before.
if A.lift and lifted and lifted.stops == 'held' then
  add({
    id = lifted.id, scope = lifted.scope, reason = lifted.reason, by = lifted.by, at = now.at,
    ends = now.at + A.keep, stops = 'nothing',
  })
end
if lifted or A.put or not raw then
  -- A list that was lost begins anew, and is newer all the same.
  all = { version = math.max(all.version + 1, now.at), list = left }
  raw = pack(all)
  call('SET', P .. ':freezes', raw)
  call('HSET', P .. ':z', 'high', text(now.at))
  call('PUBLISH', A.news, 'freezes')
end
-- Whether Redis takes writes shows in writing.
if A.beat then call('HSET', P .. ':z', 'high', text(now.at)) end
-- Which replicas are there, and which list each has in memory: said with the beat. One that said nothing for
-- so long takes no money by itself.
local LIVE = 6000
local ALIVE, HOLDS = P .. ':alive', P .. ':holds'
if A.holds then
  call('ZADD', ALIVE, text(now.at), A.me)
  call('HSET', HOLDS, A.me, text(A.holds))
  for _, gone in ipairs(call('ZRANGEBYSCORE', ALIVE, '-inf', text(now.at - LIVE))) do
    call('ZREM', ALIVE, gone)
    call('HDEL', HOLDS, gone)
  end
  call('PEXPIRE', ALIVE, 60000)
  call('PEXPIRE', HOLDS, 60000)
end
if A.leaves then
  call('ZREM', ALIVE, A.me)
  call('HDEL', HOLDS, A.me)
end
local following, of = 0, 0
if A.reach then
  for _, one in ipairs(call('ZRANGEBYSCORE', ALIVE, '(' .. text(now.at - LIVE), '+inf')) do
    of = of + 1
    if (tonumber(call('HGET', HOLDS, one)) or 0) >= A.reach then following = following + 1 end
  end
end
-- The name of the store that this list is of; none while somebody doubts it.
local named = call('HMGET', P .. ':epoch', 'id', 'doubt')
local name = not named[2] and named[1] or ''
return reply('freezes', text(all.version), raw, lifted and pack(lifted) or '', name, text(following), text(of))
