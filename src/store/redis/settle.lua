-- What became of it? The first attempt's outcome, a late one, a person's word.

local function last_token(r)
  local last = r.attempts[#r.attempts]
  return last and last[1]
end

-- The same settling again, because its answer was lost.
local function asked_twice(r)
  if A.by == 'person' or last_token(r) ~= A.token then return false end
  if r.state == 'done' then return r.outcome == A.outcome end
  return (r.state == 'not_sent' or r.state == 'unknown') and r.state == A.outcome
end

-- Whether this witness may write this outcome over that state.
local function may_settle(r)
  local yes = A.outcome == 'succeeded' or A.outcome == 'accepted'
  -- A person answers only what nobody else knows.
  if A.by == 'person' then
    return r.state == 'unknown' and (A.outcome == 'succeeded' or A.outcome == 'not_sent')
  end
  -- SECURITY: only what was once granted may speak at all.
  local granted = false
  for _, attempt in ipairs(r.attempts) do granted = granted or attempt[1] == A.token end
  if not granted then return false end
  -- A success is a fact, however late it comes and whoever asked.
  if yes and not (r.state == 'done' and r.outcome ~= 'rejected') then return true end
  if r.state == 'done' and r.outcome == 'accepted' then
    if A.outcome == 'succeeded' then return true end
    -- What the vendor said was pending came to nothing.
    return A.outcome == 'rejected' and last_token(r) == A.token
  end
  -- INVARIANT: a no counts only from the first attempt whose bytes may have left, under a valid
  -- token. The no of a resend may be the vendor's answer to a first one that it did take.
  if r.state ~= 'submitted' or r.token ~= A.token then return false end
  if A.outcome == 'rejected' or A.outcome == 'not_sent' then return A.by == 'first' end
  return A.outcome == 'unknown'
end

local function finish(r, words)
  r.token, r.lease, r.code = nil, nil, nil
  r.status, r.request_id = A.status or r.status, A.request_id or r.request_id
  r.settled, r.collected = now.at, A.collected
  note(r, A.note == '' and words or words .. ': ' .. A.note, A.by == 'person' and A.person or '')
  r.answer = A.answer
  -- What was pending may end without an answer: the first one is not its answer any more.
  if A.answer == 'kept' then call('SET', key('y', r.op), A.sealed) else call('DEL', key('y', r.op)) end
  call('DEL', key('q', r.op))
  touch(r, 'clear')
  return save(r)
end

local function settle()
  local r = record(A.op)
  if not r then return reply('lost') end
  ripen(r)
  if asked_twice(r) then return reply('ok', RAW[r.op]) end
  if not may_settle(r) then return reply('fenced', RAW[r.op]) end
  if A.outcome == 'unknown' then
    unknown(r, 'the outcome is unknown: ' .. A.note)
    return reply('ok', RAW[r.op])
  end
  local words = A.outcome
  if A.outcome == 'rejected' or A.outcome == 'not_sent' then
    free(r)
  else
    -- INVARIANT: I5-I7, a success on what was proved not to have happened takes its room again.
    local expected = r.state == 'submitted' or r.state == 'unknown'
      or (r.state == 'done' and r.outcome == 'accepted')
    spend(r)
    if not expected then
      r.contradiction, words = true, 'contradiction: it did happen'
    end
  end
  if A.outcome == 'not_sent' then
    r.state, r.outcome = 'not_sent', nil
  else
    r.state, r.outcome = 'done', A.outcome
  end
  finish(r, words)
  return reply('ok', RAW[r.op])
end
return settle()
