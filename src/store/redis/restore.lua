-- What was about to be sent when the store was lost: it may have happened.

local function restore()
  if call('EXISTS', key('r', A.op)) == 1 then return reply('known') end
  local r = A.record
  r.state, r.charged, r.answer, r.look, r.settled = 'unknown', 'freed', 'none', nil, nil
  note(r, 'put back from the record on disk: the store had lost it', '')
  reserve_room(r)
  local on = r.on and resource(r.on)
  if r.financial and not (on and on.open) then touch(r, 'set') end
  if r.same and call('EXISTS', key('s', r.same)) == 0 then call('SET', key('s', r.same), '1 ' .. r.op) end
  save(r)
  return reply('restored')
end
return restore()
