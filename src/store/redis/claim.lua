-- Who looks for an outcome now? One at a time, each try later than the one before.

local function claim()
  local r = record(A.op)
  if not r then return reply('lost') end
  if r.about ~= A.seen then return reply('changed') end
  ripen(r)
  local may = r.state == 'unknown' or (A.how == 'read' and r.state == 'done' and r.outcome == 'accepted')
  if may and r.look and r.look.token == A.token then return reply('yours', RAW[r.op]) end
  if not may or (r.look and r.look.next > now.at) then return reply('not_now', RAW[r.op]) end
  if A.how == 'send' then
    -- INVARIANT: I11, what is sent again is stopped by a freeze like what is sent first.
    local freezes = call('GET', P .. ':f')
    local freeze = freezes and frozen(unpack_row(freezes).list)
    if freeze then return reply('frozen', pack(freeze)) end
    -- INVARIANT: I8, on record before the first byte leaves again.
    attempt(r, A.token)
    note(r, 'sent again under the same key', '')
  end
  r.look = { token = A.token, tries = (r.look and r.look.tries or 0) + 1, next = now.at + A.lease }
  save(r)
  return reply('yours', RAW[r.op])
end
return claim()
