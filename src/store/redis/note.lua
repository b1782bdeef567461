-- What a person says of an operation, whatever its state.

local r = record(A.op)
if r then
  note(r, A.what, A.by)
  save(r)
end
return reply('noted')
