-- How much of a rate is lent to a replica? As `lend` in src/store/lend.rs, in microseconds.

local time = call('TIME')
local at = A.at and A.at * 1000 or time[1] * 1000000 + time[2]
local lent = reply('lent')
for _, loan in ipairs(A.loans) do
  local row = key('g', loan.slot)
  local full = math.min(tonumber(call('GET', row)) or 0, at + 2 * loan.burst)
  full = math.max(full - loan.back * loan.every, at) + loan.owed * loan.every
  local room = math.floor(math.max(at + loan.burst - full, 0) / loan.every)
  local given = math.min(loan.wanted, room)
  full = full + given * loan.every
  local wait = room > given and 0 or math.max(full + loan.every - loan.burst - at, 0)
  if full > at then
    call('SET', row, text(full), 'PX', text(math.ceil((full - at) / 1000) + LEAP))
  else
    call('DEL', row)
  end
  lent[#lent + 1], lent[#lent + 2], lent[#lent + 3] = text(given), text(room - given), text(wait)
end
return lent
