-- What waits in a queue, after that place: the riskiest first, then the oldest. Or how long each line is. Reads
-- only.

if not A.queue then return reply('lines', unpack(call('HGETALL', P .. ':lines'))) end
local found, from, skipped = reply('waiting'), A.risk and text(A.risk * RISK + A.since) or '-inf', 0
local left = A.limit
-- Those that came in the same millisecond stand in the order of their names.
local function is_after(op, stands) return not A.risk or tonumber(stands) ~= tonumber(from) or before(A.op, op) end
repeat
  local page = call('ZRANGEBYSCORE', key('w', A.queue), from, '+inf', 'WITHSCORES', 'LIMIT', skipped, A.limit)
  for i = 1, #page, 2 do
    local raw = left > 0 and is_after(page[i], page[i + 1]) and call('GET', key('r', page[i]))
    if raw then found[#found + 1], left = raw, left - 1 end
  end
  skipped = skipped + A.limit
until left <= 0 or #page == 0
return found
