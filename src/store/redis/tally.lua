-- How often did something happen? A tenant's counts in windows, added to and read in one step.

local totals = reply('tallied')
local adds = false
for _, one in ipairs(A.tallies) do
  local l, from = ledger(one.slot), edge(one.within)
  if one.after then from = math.max(from, one.after + 1) end
  if one.count > 0 then
    -- What no operation ever took of counts in one window: nothing is kept longer.
    if #l.open == 0 and #l.spent == 0 or l.keep then l.keep = math.max(l.keep or 0, one.within) end
    prune(l)
    add_spent(l, one.unit, one.count)
    put_ledger(one.slot)
    adds = true
  end
  totals[#totals + 1] = text(used(l, one.unit, from))
end
if adds then call('HSET', P .. ':z', 'high', text(now.at)) end
return totals
