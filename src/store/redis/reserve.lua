-- May it be sent? Freezes, its own record, the resource, likeness, budgets, a hold: one atomic answer.

-- The same reserve again, because its answer was lost: the same answer.
local function asked_twice(r)
  if r.state == 'submitted' and r.token == A.token then
    return reply('granted', A.token, text(r.lease), RAW[r.op])
  end
  if r.state == 'held' and r.owner == A.token then return reply('held', RAW[r.op]) end
end

-- Where it will be written: an answer, or nil and op, old, alias, ordinal.
local function locate()
  if A.approved then
    local old = record(A.approved)
    if not old then return reply('lost') end
    ripen(old)
    local again = asked_twice(old)
    if again then return again end
    -- INVARIANT: of two sweeps that race, one finds it approved; the other finds it taken.
    if old.state ~= 'approved' then return reply('known', 'own', RAW[old.op], answer_of(old)) end
    return nil, old.op, old
  end
  local found, r, how, alias = find()
  if found == 'mismatch' then return reply('mismatch', r.op) end
  if found == 'known' then
    local again = asked_twice(r)
    if again then return again end
    if r.state ~= 'not_sent' then return known(r, how, alias) end
    return nil, r.op, r, alias
  end
  -- Without a key the name hangs on how many asked the same. A hash is not ours to make: the caller
  -- names its guess, and comes again when it was another.
  if not r then
    if A.ordinal ~= how then return reply('ordinal', text(how)) end
    r = A.guess
  end
  return nil, r, nil, nil, how
end

-- INVARIANT: I13, at most one open financial effect per resource, and none that was judged by facts
-- from before the last one ended.
local function busy(own)
  local on = A.on and resource(A.on)
  if not on then return nil end
  if on.open and A.financial and on.open ~= own then
    local other = record(on.open)
    return reply(other and other.state == 'unknown' and 'outcome_unknown' or 'in_flight', on.open)
  end
  if on.moved > A.seen then return reply('stale', text(now.settled)) end
end

-- The generic cell rate algorithm, in microseconds: the rate that has no room, the one that takes longest. What is
-- taken is written with the rest, or not at all.
local function rated()
  local wait, name
  for _, rate in ipairs(A.rates) do
    local full = math.max(tonumber(call('GET', key('g', rate.slot))) or 0, now.at * 1000) + rate.every
    local over = full - rate.burst - now.at * 1000
    if over > 0 and (not wait or over > wait) then wait, name = over, rate.name end
    rate.full = full
  end
  if wait then return reply('rated', name, text(wait)) end
end

-- Two amounts within `near` per mille of the larger. An amount that is not known is near any.
local function is_near(a, b)
  if not a or not b then return true end
  return math.abs(a - b) * 1000 <= math.max(a, b) * A.near
end

local function alike(own)
  local raw = A.alike and A.if_alike and call('GET', key('l', A.alike))
  if not raw then return nil end
  local all, from = unpack_row(raw), edge(A.alike_within)
  for i = #all, 1, -1 do
    local op, at, minor = all[i][1], all[i][2], all[i][3]
    if op ~= own and is_near(A.minor, minor) then
      local other = record(op)
      -- One that waits or is under way counts however old it is. To an approved one only what was
      -- let go counts: asking for its like does not undo an approval.
      if other and (at >= from or not ENDED[other.state]) and not (A.approved and other.state == 'held') then
        return other
      end
    end
  end
end

-- When so much of what was spent will have left a window, where waiting helps.
local function frees(budget, excess)
  local spent, from = ledger(budget.slot).spent, edge(budget.within)
  for i = 1, #spent, 3 do
    if spent[i + 1] == budget.unit and spent[i] >= from then
      excess = excess - spent[i + 2]
      if excess <= 0 then return leaves(spent[i], budget.within) end
    end
  end
end

-- Whether it is past a budget, and until when, where waiting helps; and how it stands with this, itself included.
local function measure(budget, own)
  if not budget.room then return true end
  local l, from, used, mine = ledger(budget.slot), edge(budget.within), 0, 0
  local open, spent = l.open, l.spent
  for i = 1, #open, 3 do
    if open[i + 1] == budget.unit then
      if open[i] == own then mine = mine + open[i + 2] else used = used + open[i + 2] end
    end
  end
  for i = 1, #spent, 3 do
    if spent[i + 1] == budget.unit and spent[i] >= from then used = used + spent[i + 2] end
  end
  -- What it had reserved before, as a hold, was told then.
  local before, alert, ends = used + mine, budget.alert
  used = used + budget.count
  local crossed = alert ~= nil and before < alert and alert <= used
  if crossed then ends = frees(budget, used - alert + 1) end
  local stands = {
    budget.id, budget.unit, math.min(used, EXACT), math.min(budget.room, EXACT), alert or -1, crossed, ends or -1,
  }
  -- Past 2^53 a sum is not exact any more: no room.
  if used <= budget.room and used < EXACT then return false, nil, stands end
  return true, frees(budget, used - budget.room), stands
end

-- Which brakes hold it: those that are on, and those that it would pass. What a person has looked at goes.
local function brakes(freezes, own)
  local found, released = {}, {}
  if A.approved then return found end
  for _, freeze in ipairs(freezes) do
    if stops(freeze, 'held') then found[#found + 1] = 'brake.' .. (freeze.by:match('^brake/(.*)$') or freeze.id) end
    -- What came before a brake was released counts no more.
    if freeze.stops == 'nothing' then released[freeze.id] = freeze.at + 1 end
  end
  for _, one in ipairs(A.brakes) do
    local from = math.max(edge(one.within), released[one.number] or -math.huge)
    local all = one.room and used(ledger(one.slot), one.unit, from, own) + one.count
    if all and (all > one.room or all >= EXACT) then found[#found + 1] = one.id end
  end
  return found
end

local function sort(reasons)
  table.sort(reasons, function(a, b)
    if a.policy ~= b.policy then return before(a.policy, b.policy) end
    return before(a.why or '', b.why or '')
  end)
end

-- Two windows over one key: it is charged once.
local function charge(r, uses)
  local seen = {}
  for _, own in ipairs(r.charges) do seen[own[1] .. own[2]] = true end
  for _, use in ipairs(uses) do
    local id = use.slot .. use.unit
    if not seen[id] then r.charges[#r.charges + 1] = { use.slot, use.unit, use.count } end
    seen[id] = true
  end
end

local function blank(op, ordinal)
  local r = {
    op = op, same = ordinal and A.same or nil, about = A.about, maker = A.maker, summary = A.summary, fp = A.about_fp,
    digest = A.digest, financial = A.financial, minor = A.minor, currency = A.currency, owner = A.token,
    attempts = {}, charges = {}, charged = 'freed', stood = {}, alike = A.if_alike and A.alike or nil, on = A.on, reason = '',
    answer = 'none', collected = false, contradiction = false, aliases = 0, created = now.at, updated = now.at,
    timeline = {}, crowds = A.crowds, wants = A.wants, letters = {}, lettered = 0,
  }
  charge(r, A.budgets)
  return r
end

-- INVARIANT: I8, this row is durable before the first byte leaves.
local function submit(r)
  r.state, r.token, r.lease = 'submitted', A.token, now.at + A.lease
  attempt(r, A.token)
  note(r, 'submitted', '')
  if A.financial then touch(r, 'set') end
  save(r)
  return reply('granted', A.token, text(r.lease), RAW[r.op])
end

local function hold(r, reasons, changed, joined)
  local ids = {}
  for i, reason in ipairs(reasons) do ids[i] = reason.policy end
  r.state, r.yes = 'held', nil
  note(r, 'held: ' .. table.concat(ids, ', '), '')
  r.hold = {
    reasons = reasons, queue = A.queue, deadline = A.deadline, since = now.at, joined = joined, changed = changed,
    -- Of then: what is sent in the end may have another.
    digest = A.digest,
    risk = A.risk, approvers = A.approvers, roles = A.roles, yes = {}, passed = {}, asked = now.at,
    nudge = A.nudge and now.at + A.nudge or nil,
  }
  tell(r, 'hold.created')
  save(r)
  return reply('held', RAW[r.op])
end

local function write(op, old, alias, ordinal, found)
  local reasons, stood, shadow = found[1], found[2], found[3]
  local yes, lifted, changed = A.approved and old.yes, {}, {}
  for _, id in ipairs(yes and yes.policies or {}) do lifted[id] = true end
  -- INVARIANT: I12, an approval lifts exactly the policies it was given for, and nothing once the
  -- digest is another one.
  for _, reason in ipairs(reasons) do
    if not lifted[reason.policy] then changed[#changed + 1] = reason.policy end
  end
  if yes and yes.digest ~= A.digest then
    changed[#changed + 1] = 'digest'
    table.insert(reasons, { policy = 'approval.changed' })
    sort(reasons)
  end
  if #changed > 0 and not A.approved then
    -- One that waited before takes its own place again; of others there may be too many.
    for i, most in ipairs({ A.agent_max, A.customer_max }) do
      local waiting = tonumber(call('HGET', P .. ':h', A.crowds[i])) or 0
      if waiting >= most then return reply('crowded', i == 1 and 'agent' or 'customer') end
    end
  end
  for _, rate in ipairs(A.rates) do
    call('SET', key('g', rate.slot), text(rate.full), 'PX', text(math.ceil(rate.full / 1000) - now.at + LEAP))
  end
  local r, joined = blank(op, ordinal), 0
  r.stood, r.shadow = stood, shadow
  if old then
    free(old)
    r.same, r.hold, r.yes, r.attempts, r.contradiction = old.same, old.hold, old.yes, old.attempts, old.contradiction
    r.aliases, r.created, r.timeline = old.aliases, old.created, old.timeline
    r.letters, r.lettered = old.letters, old.lettered
    joined = old.hold and old.hold.joined or 0
  end
  join(r, alias)
  -- INVARIANT: what a brake watches is what is let go: what waits for a person is no spike.
  if #changed == 0 then charge(r, A.brakes) end
  reserve_room(r)
  if ordinal then call('SET', key('s', A.same), text(ordinal) .. ' ' .. op) end
  if A.request then call('SET', key('q', op), A.request) end
  if #changed == 0 then return submit(r) end
  return hold(r, reasons, yes and changed or {}, joined)
end

local function reserve()
  -- A tenant's first: its copy of the freezes must be there before anything is sent for it.
  local freezes = call('GET', P .. ':f')
  -- SECURITY: a store that was lost has another name, or none: who does not know it yet decides nothing by it.
  if not freezes or (A.epoch and now.epoch ~= A.epoch) then return reply('stranger') end
  local answer, op, old, alias, ordinal = locate()
  if answer then return answer end
  -- What came with it was sealed for another operation.
  if A.request and A.sealed_for ~= op then return reply('reseal', op) end
  freezes = unpack_row(freezes).list
  local freeze = frozen(freezes)
  if freeze then return reply('frozen', pack(freeze)) end
  local blocked = busy(op) or rated()
  if blocked then return blocked end
  local other, reasons, refused = alike(op), A.reasons, A.refused
  if other and A.if_alike == 'refuse' then
    if not A.noted then return reply('alike', RAW[other.op]) end
    refused = refused or 'duplicate_suspected'
  end
  if other and A.if_alike ~= 'allow' then
    local like = { other.op, other.created, other.summary, other.state }
    table.insert(reasons, { policy = 'duplicates.alike', like = like })
  end
  local stood = {}
  for _, budget in ipairs(A.budgets) do
    local past, ends, stands = measure(budget, op)
    stood[#stood + 1] = stands
    if past and budget.over == 'refuse' then
      if not A.noted then return reply('over', budget.id, ends and text(ends) or '') end
      refused = refused or 'budget_exhausted'
    end
    if past and budget.over ~= 'allow' then table.insert(reasons, { policy = budget.id, budget = true }) end
  end
  for _, id in ipairs(brakes(freezes, op)) do table.insert(reasons, { policy = id, brake = true }) end
  sort(reasons)
  local last
  reasons = keep(reasons, function(reason)
    local first = reason.policy ~= last
    last = reason.policy
    return first
  end)
  -- What runs in shadow is let go; what spoke against it is kept.
  local shadow
  if A.noted and (refused or #reasons > 0) then
    shadow, reasons = { code = refused or 'approval_required', reasons = reasons }, {}
  end
  return write(op, old, alias, ordinal, { reasons, stood, shadow })
end
return reserve()
