-- What became of it? The first attempt's outcome, a late one, a person's word.

local function last_token(r)
  local last = r.attempts[#r.attempts]
  return last and last[1]
end

local function looks(r) return r.look and r.look.token == A.token end

-- The same settling again, because its answer was lost.
local function asked_twice(r)
  if A.by == 'person' then return false end
  -- What a look-up found changed the state, or it goes on.
  if A.by == 'lookup' and (A.outcome == 'unknown' or not looks(r)) then return false end
  if A.by ~= 'lookup' and last_token(r) ~= A.token then return false end
  if r.state == 'done' then return r.outcome == A.outcome end
  return (r.state == 'not_sent' or r.state == 'unknown') and r.state == A.outcome
end

-- Whether what is sought may end so, by the word of somebody who looked.
local function may_end(r)
  local found = A.outcome == 'succeeded' or A.outcome == 'rejected'
  if r.state == 'unknown' then return found or A.outcome == 'accepted' or A.outcome == 'not_sent' end
  return r.state == 'done' and r.outcome == 'accepted' and found
end

-- Whether this witness may write this outcome over that state.
local function may_settle(r)
  -- INVARIANT: only the newest claim speaks, and only of what is still sought.
  if A.by == 'lookup' then return looks(r) and may_end(r) end
  -- A person answers only what nobody else knows.
  if A.by == 'person' then return may_end(r) end
  -- SECURITY: only what was once granted may speak at all.
  local granted = false
  for _, attempt in ipairs(r.attempts) do granted = granted or attempt[1] == A.token end
  if not granted then return false end
  local yes = A.outcome == 'succeeded' or A.outcome == 'accepted'
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

-- Whether what the vendor names was made by this operation. What a look-up found was, also where it came to
-- nothing; a no to a call may name anything.
local function names_its_own()
  if A.outcome == 'rejected' then return A.by == 'lookup' end
  return A.outcome == 'succeeded' or A.outcome == 'accepted'
end

-- What a look-up found is no other operation's doing; what the vendor answered is ours whatever it is called.
local function is_its_own(r)
  if not A.made or not names_its_own() then return true end
  local at = key('u', r.maker .. A.made)
  local other = call('GET', at)
  if not other then call('SET', at, r.op) end
  return not other or other == r.op or A.by ~= 'lookup'
end

-- The search found nothing that counts: the next try is later. 2 s, 4 s, 8 s, .. ten minutes at most, and a
-- quarter more or less, so that what failed together is not tried together.
local function no_answer(r)
  local sought = r.state == 'unknown' or (r.state == 'done' and r.outcome == 'accepted')
  if not sought or not looks(r) then return reply('fenced', RAW[r.op]) end
  local whole = math.min(1000 * 2 ^ math.min(r.look.tries, 10), 600000)
  local part = tonumber(r.look.token:sub(-3), 16) % 1024
  r.look.next = now.at + math.floor(whole * 3 / 4 + whole * part / 2048)
  note(r, A.note, '')
  save(r)
  return reply('ok', RAW[r.op])
end

local function finish(r, words)
  r.token, r.lease, r.code, r.look = nil, nil, nil, nil
  if A.made and names_its_own() then r.made = A.made end
  r.status, r.request_id = A.status or r.status, A.request_id or r.request_id
  r.settled, r.collected = now.at, A.collected
  if not A.collected then tell(r, 'operation.settled') end
  note(r, A.note == '' and words or words .. ': ' .. A.note, A.by == 'person' and A.person or '')
  -- What it answered while it was pending is still what it answered.
  r.answer = A.answer or r.answer
  if A.answer == 'kept' then call('SET', key('y', r.op), A.sealed) end
  if A.answer == 'gone' then call('DEL', key('y', r.op)) end
  -- What is pending is followed up by what its request says.
  if A.outcome ~= 'accepted' then call('DEL', key('q', r.op)) end
  touch(r, 'clear')
  return save(r)
end

local function settle()
  local r = record(A.op)
  if not r then return reply('lost') end
  ripen(r)
  if asked_twice(r) then return reply('ok', RAW[r.op]) end
  if A.by == 'lookup' and A.outcome == 'unknown' then return no_answer(r) end
  if not may_settle(r) or not is_its_own(r) then return reply('fenced', RAW[r.op]) end
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
