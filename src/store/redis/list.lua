-- Operations as one index has them. Reads only.

local found = reply('listed')
local index = A.list == 'all' and P .. ':t' or key('i', A.list)
for _, op in ipairs(call('ZRANGE', index, 0, A.limit - 1)) do
  local raw = call('GET', key('r', op))
  if raw then found[#found + 1] = raw end
end
return found
