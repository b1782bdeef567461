-- Is it known already? What is new costs no write.

local found, r, how, alias = find()
if found == 'mismatch' then return reply('mismatch', r.op) end
if found == 'new' then return reply('fresh', r or '', text(how), text(now.settled)) end
-- Nothing left: it runs again, as the operation it is.
if r.state == 'not_sent' then return reply('fresh', r.op, '0', text(now.settled)) end
return known(r, how, alias)
