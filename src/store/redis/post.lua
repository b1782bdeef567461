-- Who delivers a letter now? One at a time; what was delivered is not delivered again.

local function post()
  local r, letter = record(A.op), nil
  for _, one in ipairs(r and r.letters or {}) do
    if one.number == A.number then letter = one end
  end
  if not letter then return reply('not_now') end
  if A.lease then
    if letter.next > now.at then return reply('not_now') end
    letter.tries, letter.next = letter.tries + 1, now.at + A.lease
  else
    if letter.next ~= A.taken then return reply('not_now') end
    letter.told = A.told
    if A.again then
      letter.next = now.at + A.again
    else
      r.letters = keep(r.letters, function(one) return one.number ~= A.number end)
    end
  end
  save(r)
  return reply('ok', RAW[r.op])
end
return post()
