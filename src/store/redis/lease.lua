-- Who looks for what is over, for the fleet? One replica, as long as it says so again in time.

local at = P .. ':sweep'
local who = call('GET', at)
if who and who ~= A.me then return reply('others') end
call('SET', at, A.me, 'PX', text(A.lease))
return reply('yours')
