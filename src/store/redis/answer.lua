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

local function approve(r)
  if not is_shown(r) then return reply('changed', RAW[r.op]) end
  local policies = {}
  for i, reason in ipairs(r.hold.reasons) do policies[i] = reason.policy end
  r.state = 'approved'
  r.yes = {
    by = A.by, at = now.at, digest = r.digest, policies = policies,
    ends = math.max(r.hold.deadline, now.at + APPROVAL_TTL),
  }
  note(r, A.reason == '' and 'approved' or 'approved: ' .. A.reason, A.by)
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
  refuse(r, A.code, A.reason, A.by)
  return reply('ok', RAW[r.op])
end
return answer()
