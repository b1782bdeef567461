-- Is it known already: by its key, or as the same again? For recall, and again for reserve.

local function is_joined(r)
  if not ENDED[r.state] then return true end
  -- By the clock that ran: one that was set forward makes nothing of it older.
  local ended = r.settled or r.created
  local uncollected = (r.state == 'done' or r.state == 'refused') and not r.collected
  return ended >= edge(SAME_WINDOW) or (uncollected and ended >= edge(UNCOLLECTED_WINDOW))
end

-- 'mismatch', record | 'known', record, how, alias | 'new', op or nil, ordinal
local function find()
  if A.own then
    local r = by_name(A.own)
    if r then
      -- INVARIANT: I10, a mismatch never executes.
      if r.fp ~= A.fp then return 'mismatch', r end
      return 'known', ripen(r), r.op == A.own and 'own' or 'same', nil
    end
  end
  local raw, ordinal = call('GET', key('s', A.same)), 0
  if raw then
    local n, op = raw:match('^(%d+) (.*)$')
    ordinal = tonumber(n)
    local r = record(op)
    if r and is_joined(ripen(r)) then return 'known', r, 'same', A.own end
  end
  if A.own then return 'new', A.own, ordinal end
  return 'new', nil, ordinal + 1
end

local function join(r, alias)
  if not alias or alias == r.op or r.aliases >= ALIASES_MAX then return false end
  r.aliases = r.aliases + 1
  call('SET', key('r', alias), '>' .. r.op)
  call('SADD', key('b', r.op), alias)
  return true
end

-- Answers with an operation that is known, and notes that it was asked again.
local function known(r, how, alias)
  local changed = join(r, alias)
  if r.state == 'held' then
    r.hold.joined, changed = r.hold.joined + 1, true
  elseif (r.state == 'done' or r.state == 'refused') and not r.collected then
    r.collected, changed = true, true
  end
  if changed then
    r.updated = now.at
    save(r)
  end
  return reply('known', how, RAW[r.op], answer_of(r))
end
