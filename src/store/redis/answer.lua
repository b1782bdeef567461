-- What does a person say to a hold, or the agent, or the gate that judged it again?

-- INVARIANT: I12, a yes is to these bytes, these values and these policies. What the approver saw is named
-- by a hash, and Redis has none: the caller says of what it is the hash, and that is compared. Nothing to
-- compare with means that the caller's own look found another.
local function is_shown(r)
  if not A.shown_digest or A.shown_digest ~= r.digest or #A.shown_policies ~= #r.hold.reasons then return false end
  for i, reason in ipairs(r.hold.reasons) do
    if reason.policy ~= A.shown_policies[i] then return false end
  end
  return true
end

-- Whether a different person stands for each role, from the one at `from` on.
local function stand_for(roles, yes, from, taken)
  local role = roles[from]
  if not role then return true end
  for i, one in ipairs(yes) do
    if not taken[i] then
      for _, own in ipairs(one.roles) do
        if own == role then
          taken[i] = true
          if stand_for(roles, yes, from + 1, taken) then return true end
          taken[i] = nil
        end
      end
    end
  end
  return false
end

-- One more yes; with enough of them it is approved.
local function approve(r)
  local hold, people, policies = r.hold, {}, {}
  if not is_shown(r) then return reply('changed', RAW[r.op]) end
  for i, one in ipairs(hold.yes) do
    -- SECURITY: issuers write one address in any letter case; it is one person all the same.
    if one.by:lower() == A.by:lower() then return reply('twice', RAW[r.op]) end
    people[i] = one.by
  end
  note(r, A.reason == '' and 'approved' or 'approved: ' .. A.reason, A.by)
  table.insert(hold.yes, { by = A.by, at = now.at, roles = A.roles, reason = A.reason })
  table.insert(people, A.by)
  if #hold.yes >= hold.approvers and stand_for(hold.roles, hold.yes, 1, {}) then
    for i, reason in ipairs(hold.reasons) do policies[i] = reason.policy end
    r.state = 'approved'
    r.yes = {
      by = table.concat(people, ', '), at = now.at, digest = r.digest, policies = policies,
      ends = math.max(hold.deadline, now.at + APPROVAL_TTL),
    }
    tell(r, 'hold.answered')
  end
  save(r)
  return reply('ok', RAW[r.op])
end

-- Time went by: its people are reminded; or others are asked, and their time begins. It comes once.
local function nudge(r)
  local hold = r.hold
  if hold.nudge ~= A.due or A.due > now.at then return reply('too_late', RAW[r.op]) end
  hold.nudge = A.next and now.at + A.next or nil
  if A.to then
    note(r, 'passed on from ' .. hold.queue .. ' to ' .. A.to, '')
    table.insert(hold.passed, hold.queue)
    hold.queue, hold.asked = A.to, now.at
    tell(r, 'hold.escalated')
  else
    note(r, hold.queue .. ' was reminded', '')
    tell(r, 'hold.reminder')
  end
  save(r)
  return reply('ok', RAW[r.op])
end

local function answer()
  local r = record(A.op)
  if not r then return reply('lost') end
  ripen(r)
  -- After an approval only the gate, which judges again, may still say no.
  local waits = A.say == 'refuse' and 'approved' or 'held'
  if r.state ~= waits or not r.hold then return reply('too_late', RAW[r.op]) end
  if A.say == 'approve' then return approve(r) end
  if A.say == 'nudge' then return nudge(r) end
  refuse(r, A.code, A.reason, A.by)
  return reply('ok', RAW[r.op])
end
return answer()
