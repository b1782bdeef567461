-- A tenant's copy of the fleet's freezes.

copy_freezes()
return reply('copied')
