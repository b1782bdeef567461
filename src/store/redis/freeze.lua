-- The freezes of the fleet: one list with a version, under the fleet's own prefix `{fleet}`. Each tenant has a
-- copy beside its rows, where its reserve reads it; the newest version wins, so that no late copy brings a
-- lifted freeze back.

local raw, lifted = call('GET', P .. ':freezes'), nil
local all = raw and unpack_row(raw) or { version = 0, list = {} }
local function gone(freeze)
  if A.lift then return freeze.id == A.lift end
  if A.put then return freeze.id == A.put.id end
  return A.prune and freeze.ends and freeze.ends <= now.at
end
local left = keep(all.list, function(freeze)
  if gone(freeze) then lifted = freeze end
  return not gone(freeze)
end)
if A.put then
  A.put.at = now.at
  table.insert(left, A.put)
  table.sort(left, function(a, b) return a.id < b.id end)
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
-- The name of the store that this list is of; none while somebody doubts it.
local named = call('HMGET', P .. ':epoch', 'id', 'doubt')
return reply('freezes', text(all.version), raw, lifted and pack(lifted) or '', not named[2] and named[1] or '')
