-- The agent has its answer: the same again, later, is another call.

local r = record(A.op)
if r and not r.collected then
  r.collected, r.updated = true, now.at
  save(r)
end
return reply('noted')
