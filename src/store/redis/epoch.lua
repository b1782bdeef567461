-- Was this store begun, and does it know all that it knew? One name for the fleet; a store that is lost gets
-- another one, and says since when until a person has seen to it.

local at = P .. ':epoch'
local function now_begun() return call('HGET', at, 'id') or '' end
-- What is copied from now on is newer than any copy under the old name.
local function renamed(...)
  call('HSET', at, ...)
  local raw = call('GET', P .. ':freezes')
  local all = raw and unpack_row(raw) or { version = 0, list = {} }
  all.version = math.max(all.version + 1, now.at)
  call('SET', P .. ':freezes', pack(all))
end
if A.begin and now_begun() == '' then renamed('id', A.begin) end
-- Somebody misses what was confirmed to them: nobody relies on it until it has its new name.
if A.doubt then call('HSET', at, 'doubt', '1') end
-- Of several that find it lost, one names it.
if A.lose and now_begun() == A.was then
  call('HDEL', at, 'doubt')
  renamed('id', A.lose, 'lost', text(now.at))
end
if A.clear then call('HDEL', at, 'lost') end
return reply('epoch', now_begun(), call('HGET', at, 'lost') or '', call('HGET', at, 'doubt') or '')
