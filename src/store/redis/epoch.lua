-- Was this store begun, and does it know all that it knew? One name for the fleet; a store that is lost gets
-- another one, and says since when until a person has seen to it.

local at = P .. ':epoch'
local function now_begun() return call('HGET', at, 'id') or '' end
if A.begin and now_begun() == '' then call('HSET', at, 'id', A.begin) end
-- Of several that find it lost, one names it.
if A.lose and now_begun() == A.was then call('HSET', at, 'id', A.lose, 'lost', text(now.at)) end
if A.clear then call('HDEL', at, 'lost') end
return reply('epoch', now_begun(), call('HGET', at, 'lost') or '')
