-- What is over? Leases, holds, and what was kept long enough. One tenant.

local function forget(r)
  local was = WAS[r.op]
  call('HINCRBY', P .. ':n', r.state, -1)
  call('DEL', key('r', r.op), key('q', r.op), key('y', r.op))
  call('ZREM', P .. ':t', r.op)
  call('ZREM', P .. ':k', r.op)
  if was.list then call('ZREM', key('i', was.list), r.op) end
  if was.post then call('ZREM', key('i', 'post'), r.op) end
  unlist_alike(r)
  local same = r.same and call('GET', key('s', r.same))
  if same and same:match('^%d+ (.*)$') == r.op then call('DEL', key('s', r.same)) end
  local made = r.made and key('u', r.maker .. r.made)
  if made and call('GET', made) == r.op then call('DEL', made) end
  for _, name in ipairs(call('SMEMBERS', key('b', r.op))) do call('DEL', key('r', name)) end
  call('DEL', key('b', r.op))
end

local function retain(op)
  local r = record(op)
  if not r then
    call('ZREM', P .. ':k', op)
  elseif since(r.settled) > (r.financial and KEEP_FINANCIAL or KEEP_DONE) then
    forget(r)
  elseif r.answer == 'kept' then
    r.answer = 'gone'
    call('DEL', key('y', op))
    save(r)
  end
end

copy_freezes()
-- The count of a process that is gone goes, too.
call('PEXPIRE', WRITES, text(30 * DAY))
local changed = reply('swept')
for _, list in ipairs({ 'held', 'approved', 'submitted' }) do
  -- Due at this very moment is over, too.
  for _, op in ipairs(call('ZRANGEBYSCORE', key('i', list), '-inf', text(now.at), 'LIMIT', 0, A.due_max)) do
    local r = record(op)
    if r then
      ripen(r)
      changed[#changed + 1] = RAW[op]
    end
  end
end
for _, op in ipairs(call('ZRANGEBYSCORE', P .. ':k', '-inf', '(' .. text(now.at), 'LIMIT', 0, A.look_max)) do
  retain(op)
end
return changed
