-- Operations as one index has them. Reads only.

local found = reply('listed')
local index = A.list == 'all' and P .. ':t' or key('i', A.list)
local last = A.due == 'now' and text(now.at) or '+inf'
for _, op in ipairs(call('ZRANGEBYSCORE', index, '-inf', last, 'LIMIT', 0, A.limit)) do
  local raw = call('GET', key('r', op))
  if raw then found[#found + 1] = raw end
end
return found
