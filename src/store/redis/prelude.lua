-- Before every script: arguments, the time, the rows of one tenant, and what `step` shares.
-- The names are those of src/store/step.rs; a differential test holds the two to the same answers.
--
-- KEYS[1] is a tenant's prefix, `{fleet:tenant}`. Every other key is made from it here and has the same hash
-- tag, so that all rows of a tenant live on one node of a cluster and one script may touch them.
-- ARGV[1] is one MessagePack map. Numbers are whole and below 2^53, where doubles are exact.
local P, A = KEYS[1], cmsgpack.unpack(ARGV[1])
local call, pack, unpack_row = redis.call, cmsgpack.pack, cmsgpack.unpack
local DAY = 86400000
local LEAP, WITHIN_MAX, BUCKETS_MAX, ALIKES_MAX, ALIASES_MAX = 60000, 31 * DAY, 128, 256, 10000
local ATTEMPTS_MAX, TIMELINE_MAX, KEEP_DONE, KEEP_FINANCIAL = 160, 64, 2 * DAY, 35 * DAY
local LETTERS_MAX, RISK = 8, 1e13
local SAME_WINDOW, UNCOLLECTED_WINDOW, APPROVAL_TTL, EXACT = 600000, DAY, 3600000, 2 ^ 53

local function text(n) return string.format('%.0f', n) end
local function key(kind, name) return P .. ':' .. kind .. ':' .. name end

-- By bytes: Lua's own comparison follows the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The time is Redis's own and never goes back: `high` is the latest that was written down. The caller tells
-- what its steady clock makes of the time it last heard (`ran`): a clock that was set is told from one that
-- ran, and a window with a leap inside it reaches back as much further. Only tests pass `at`.
local function read_time()
  local m = call('HMGET', P .. ':z', 'high', 'jump_at', 'jump_by', 'settled', 'epoch')
  local now = { settled = tonumber(m[4]) or 0, jump_at = tonumber(m[2]) or 0, jump_by = tonumber(m[3]) or 0 }
  now.epoch = m[5] or ''
  if A.at then
    now.at, now.jump_at, now.jump_by = A.at, A.jump_at, A.jump_by
    return now
  end
  local t, high, ran = call('TIME'), tonumber(m[1]) or 0, A.ran or 0
  local wall = t[1] * 1000 + math.floor(t[2] / 1000)
  if A.jump_at > now.jump_at then now.jump_at, now.jump_by = A.jump_at, A.jump_by end
  if ran > 0 and wall - math.max(ran, high) > LEAP then
    local before = now.jump_at >= wall - WITHIN_MAX and now.jump_by or 0
    now.jump_at, now.jump_by = wall, wall - math.max(ran, high) + before
    call('HSET', P .. ':z', 'high', text(wall), 'jump_at', text(wall), 'jump_by', text(now.jump_by))
  end
  -- Set far back, it goes on by the caller's steady clock: leases and holds still end.
  now.at = high - wall > LEAP and math.max(high, ran) or math.max(wall, high)
  return now
end
local now = read_time()

-- How many of the caller's own writes are here. Nobody else counts there: a copy that missed one shows.
local WRITES = key('w', A.me)
local writes = tonumber(call('GET', WRITES)) or 0

local function edge(within)
  local at = now.at - within
  if now.jump_by > 0 and now.jump_at >= at then return at - now.jump_by end
  return at
end
-- When a moment will have left a window.
local function leaves(last, within)
  if now.jump_by > 0 and now.jump_at > last then last = math.min(last + now.jump_by, now.jump_at) end
  -- The edge itself still counts.
  return last + within + 1
end
local function since(at) return math.max(now.at - at, 0) end

-- Records, and the indexes that name them.

local RAW, WAS = {}, {}
local ENDED = { done = true, not_sent = true, refused = true }

-- Where an open record is listed, and when it is due. Held: its hold's deadline; and so on.
local function place(r)
  if r.state == 'held' then return 'held', r.hold.deadline end
  if r.state == 'approved' then return 'approved', r.yes.ends end
  if r.state == 'submitted' then return 'submitted', r.lease end
  -- When the next search for its outcome is due.
  local next_look = r.look and r.look.next or r.created
  if r.state == 'unknown' then return 'unknown', next_look end
  if r.state == 'done' and r.outcome == 'accepted' then return 'accepted', next_look end
end

-- When the retention looks at it next: an answer goes after two days, money's record after 35.
local function looked_at(r)
  -- What is pending is kept however old.
  if not ENDED[r.state] or r.state == 'done' and r.outcome == 'accepted' then return nil end
  if r.financial and r.answer ~= 'kept' then return r.settled + KEEP_FINANCIAL end
  return r.settled + KEEP_DONE
end

-- When somebody outside is to be told or reminded next.
local function post_due(r)
  local due = r.state == 'held' and r.hold.nudge or nil
  for _, letter in ipairs(r.letters) do
    if not due or letter.next < due then due = letter.next end
  end
  return due
end

-- Where a call that waits stands in its queue: by risk, then by age.
local function line(r)
  if r.state == 'held' then return r.hold.queue, r.hold.risk * RISK + r.hold.since end
end

local function remember(r)
  local list, due = place(r)
  local queue, stands = line(r)
  WAS[r.op] = {
    state = r.state, list = list, due = due, look = looked_at(r), post = post_due(r), queue = queue, stands = stands,
  }
  return r
end

-- A row that begins with `>` is another name of an operation; a MessagePack map never does.
local function row(op)
  local raw = call('GET', key('r', op))
  if not raw then return nil end
  if raw:byte(1) == 62 then return nil, raw:sub(2) end
  local r = unpack_row(raw)
  RAW[op] = raw
  return remember(r)
end
local function record(op) return (row(op)) end
local function by_name(op)
  local r, other = row(op)
  if other then return record(other) end
  return r
end

local function count(at, name, by)
  if call('HINCRBY', at, name, by) <= 0 then call('HDEL', at, name) end
end

-- What waits for people: in its queue's line, and among its agent's and its customer's.
local function reline(r, was, is)
  if was.queue == is.queue and was.stands == is.stands then return end
  if was.queue then
    call('ZREM', key('w', was.queue), r.op)
    count(P .. ':lines', was.queue, -1)
  end
  if is.queue then
    call('ZADD', key('w', is.queue), text(is.stands), r.op)
    count(P .. ':lines', is.queue, 1)
  end
  if not was.queue or not is.queue then
    for _, whose in ipairs(r.crowds) do count(P .. ':h', whose, is.queue and 1 or -1) end
  end
end

local function save(r)
  local was = WAS[r.op]
  RAW[r.op] = pack(r)
  -- Open states have no end of keeping; what has one is taken away by the sweep, with all that names it.
  call('SET', key('r', r.op), RAW[r.op])
  call('HSET', P .. ':z', 'high', text(now.at))
  writes = call('INCR', WRITES)
  remember(r)
  local is = WAS[r.op]
  if was and was.list and was.list ~= is.list then call('ZREM', key('i', was.list), r.op) end
  if is.list and (not was or was.list ~= is.list or was.due ~= is.due) then
    call('ZADD', key('i', is.list), text(is.due), r.op)
  end
  if is.look and (not was or was.look ~= is.look) then call('ZADD', P .. ':k', text(is.look), r.op) end
  if was and was.look and not is.look then call('ZREM', P .. ':k', r.op) end
  if is.post and (not was or was.post ~= is.post) then call('ZADD', key('i', 'post'), text(is.post), r.op) end
  if was and was.post and not is.post then call('ZREM', key('i', 'post'), r.op) end
  reline(r, was or {}, is)
  if not was or was.state ~= is.state then
    call('HINCRBY', P .. ':n', is.state, 1)
    if was then call('HINCRBY', P .. ':n', was.state, -1) end
  end
  -- Nobody can wait for what was not there; but people look at what is held.
  if was or is.queue then call('PUBLISH', A.news, r.op) end
  if not was then call('ZADD', P .. ':t', text(-r.created), r.op) end
  return r
end

-- The same again is the same moment, later.
local function note(r, what, by)
  r.updated = now.at
  local last = r.timeline[#r.timeline]
  if last and last[2] == what and last[3] == by then
    last[1] = now.at
    return
  end
  if #r.timeline >= TIMELINE_MAX then table.remove(r.timeline, TIMELINE_MAX / 2 + 1) end
  table.insert(r.timeline, { now.at, what, by })
end

-- A letter to the outside, if somebody wants it: written in the same step as what it tells.
local function tell(r, news)
  for _, wanted in ipairs(r.wants) do
    if wanted == news then
      if #r.letters >= LETTERS_MAX then table.remove(r.letters, 1) end
      r.lettered = r.lettered + 1
      table.insert(r.letters, { number = r.lettered, news = news, at = now.at, next = now.at, tries = 0, told = {} })
    end
  end
end

-- Of very many attempts the first and the latest are kept.
local function attempt(r, token)
  if #r.attempts >= ATTEMPTS_MAX then table.remove(r.attempts, 2) end
  table.insert(r.attempts, { token, now.at })
end

-- Budgets: what is reserved always counts, what was spent counts while it is in the window. Two lists of
-- threes, `op, unit, count` and `moment, unit, count`, the oldest first. Flat: a table for each bucket would
-- make a full budget ten times as slow to unpack.

local LEDGERS = {}
local function ledger(slot)
  if not LEDGERS[slot] then
    local raw = call('GET', key('m', slot))
    LEDGERS[slot] = raw and unpack_row(raw) or { open = {}, spent = {} }
  end
  return LEDGERS[slot]
end
local function put_ledger(slot)
  local l, at = LEDGERS[slot], key('m', slot)
  if #l.open > 0 then
    call('SET', at, pack(l))
  elseif #l.spent > 0 then
    -- Nothing is open: no window reaches past this.
    local reaches = l.keep and l.keep + DAY / 24 or WITHIN_MAX + DAY
    call('SET', at, pack(l), 'PX', text(reaches + now.jump_by))
  else
    call('DEL', at)
  end
end
local function keep(list, wanted)
  local kept = {}
  for _, item in ipairs(list) do if wanted(item) then kept[#kept + 1] = item end end
  return kept
end
local function drop_three(list, at)
  for _ = 1, 3 do table.remove(list, at) end
end
local function release(l, op, unit)
  for i = #l.open - 2, 1, -3 do
    if l.open[i] == op and l.open[i + 1] == unit then drop_three(l.open, i) end
  end
end

local function prune(l)
  local from = edge(WITHIN_MAX)
  while l.spent[1] and l.spent[1] < from do drop_three(l.spent, 1) end
end

-- Past the bound the two nearest moments become one, which counts until the later of them leaves.
local function merge(l)
  local all, best, first, second = l.spent, nil, nil, nil
  for i = 1, #all, 3 do
    for j = i + 3, #all, 3 do
      if all[j + 1] == all[i + 1] then
        local gap = math.max(all[j] - all[i], 0)
        if not best or gap < best then best, first, second = gap, i, j end
        break
      end
    end
  end
  if not best then return end
  all[second + 2] = all[second + 2] + all[first + 2]
  drop_three(all, first)
end

local function list_alike(r)
  if not r.alike then return end
  local raw = call('GET', key('l', r.alike))
  local all = keep(raw and unpack_row(raw) or {}, function(one) return one[1] ~= r.op end)
  if #all >= ALIKES_MAX then table.remove(all, 1) end
  -- Without an amount the third is not there.
  all[#all + 1] = { r.op, now.at, r.minor }
  call('SET', key('l', r.alike), pack(all))
end
local function unlist_alike(r)
  local raw = r.alike and call('GET', key('l', r.alike))
  if not raw then return end
  local all = keep(unpack_row(raw), function(one) return one[1] ~= r.op end)
  if #all > 0 then call('SET', key('l', r.alike), pack(all)) else call('DEL', key('l', r.alike)) end
end

local function free(r)
  for _, charge in ipairs(r.charges) do
    local l = ledger(charge[1])
    if r.charged == 'open' then
      release(l, r.op, charge[2])
    elseif r.charged == 'spent' and r.spent >= edge(WITHIN_MAX) then
      -- What left every window is not there to be taken back: what is, is somebody else's.
      for i = 1, #l.spent, 3 do
        if l.spent[i + 1] == charge[2] and l.spent[i] >= r.spent then
          l.spent[i + 2] = math.max(l.spent[i + 2] - charge[3], 0)
          break
        end
      end
      for i = #l.spent - 2, 1, -3 do
        if l.spent[i + 2] <= 0 then drop_three(l.spent, i) end
      end
    end
    put_ledger(charge[1])
  end
  r.charged, r.spent = 'freed', nil
  unlist_alike(r)
end

local function reserve_room(r)
  for _, charge in ipairs(r.charges) do
    local l = ledger(charge[1])
    prune(l)
    release(l, r.op, charge[2])
    l.keep = nil
    for _, value in ipairs({ r.op, charge[2], charge[3] }) do table.insert(l.open, value) end
    put_ledger(charge[1])
  end
  r.charged = 'open'
  list_alike(r)
end

local function add_spent(l, unit, count)
  local at = #l.spent + 1
  while at > 1 and l.spent[at - 3] > now.at do at = at - 3 end
  -- Of one moment there is one: what is taken back of it is taken from all of it.
  local same = at - 3
  while same >= 1 and l.spent[same] == now.at and l.spent[same + 1] ~= unit do same = same - 3 end
  if same >= 1 and l.spent[same] == now.at then
    l.spent[same + 2] = l.spent[same + 2] + count
    return
  end
  for i, value in ipairs({ now.at, unit, count }) do table.insert(l.spent, at + i - 1, value) end
  if #l.spent > BUCKETS_MAX * 3 then merge(l) end
end
-- What is open, but for `own`, and what was spent from then on.
local function used(l, unit, from, own)
  local sum, open, spent = 0, l.open, l.spent
  for i = 1, #open, 3 do
    if open[i] ~= own and open[i + 1] == unit then sum = sum + open[i + 2] end
  end
  for i = 1, #spent, 3 do
    if spent[i + 1] == unit and spent[i] >= from then sum = sum + spent[i + 2] end
  end
  return sum
end

local function spend(r)
  if r.charged == 'spent' then return end
  for _, charge in ipairs(r.charges) do
    local l = ledger(charge[1])
    release(l, r.op, charge[2])
    add_spent(l, charge[2], charge[3])
    put_ledger(charge[1])
  end
  r.charged, r.spent = 'spent', now.at
  list_alike(r)
end

-- Resources: the one open financial effect, and the number of the last settling.

local function resource(slot)
  local raw = call('GET', key('o', slot))
  local on = raw and unpack_row(raw)
  if on and not on.open and since(on.at) > KEEP_DONE then return nil end
  return on
end
local function touch(r, open)
  if not r.on then return end
  local on = resource(r.on) or { moved = 0 }
  on.at = now.at
  if open == 'set' then
    on.open = r.op
  else
    now.settled = now.settled + 1
    call('HSET', P .. ':z', 'settled', text(now.settled))
    on.moved = now.settled
    if open == 'clear' and on.open == r.op then on.open = nil end
  end
  if on.open then
    call('SET', key('o', r.on), pack(on))
  else
    call('SET', key('o', r.on), pack(on), 'PX', text(KEEP_DONE + DAY))
  end
end

-- What time does to an operation: whoever looks at it sees the same, swept or not.

local function unknown(r, why)
  r.state, r.token, r.lease = 'unknown', nil, nil
  note(r, why, '')
  touch(r, 'keep')
  return save(r)
end
local function refuse(r, code, why, by)
  free(r)
  r.state, r.code, r.reason, r.settled, r.collected = 'refused', code, why, now.at, false
  note(r, 'refused: ' .. why, by)
  tell(r, 'hold.answered')
  call('DEL', key('q', r.op))
  return save(r)
end
local function ripen(r)
  local _, due = place(r)
  local timed = r.state == 'held' or r.state == 'approved' or r.state == 'submitted'
  if not timed or due > now.at then return r end
  if r.state == 'submitted' then return unknown(r, 'the lease is over, the outcome is unknown') end
  return refuse(r, 'approval_expired', 'nobody answered in time', '')
end

-- Whether a stop is on and matches: one that does `what`.
local function stops(freeze, what)
  -- One with a 'before' is of tokens: it stops no call.
  if freeze.before or (freeze.stops or 'refused') ~= what then return false end
  if freeze.ends and now.at >= freeze.ends then return false end
  local parts = A.subject
  for kind, name in freeze.scope:gmatch('(%l+)/(%S+)') do
    if kind == 'class' then
      if not parts.classes[name] then return false end
    elseif kind == 'kind' then
      if not parts.kinds[name] then return false end
    elseif parts[kind] ~= name then
      return false
    end
  end
  return true
end
-- INVARIANT: I11, once a freeze is durable nothing that it matches enters submitted.
local function frozen(freezes)
  for _, freeze in ipairs(freezes) do
    if stops(freeze, 'refused') then return freeze end
  end
end

local function answer_of(r)
  return r.state == 'done' and r.answer == 'kept' and call('GET', key('y', r.op)) or ''
end
-- A tenant's copy of the freezes and of the store's name: the newest wins, whoever missed the last one.
local function copy_freezes()
  local raw = call('GET', P .. ':f')
  local version = raw and unpack_row(raw).version or -1
  if version < A.version then call('SET', P .. ':f', A.freezes) end
  if version <= A.version and A.epoch and now.epoch ~= A.epoch then call('HSET', P .. ':z', 'epoch', A.epoch) end
end

-- Every reply begins with its word, the time, the count of the caller's writes and the number of settlings.
local function reply(word, ...) return { word, text(now.at), text(writes), text(now.settled), ... } end
