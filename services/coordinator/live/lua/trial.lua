-- Do once all that leading does, and leave nothing. The functions are the other scripts.
-- KEYS: leader, op, then the tables, under names that no leader uses.
-- ARGV: our name, a digest, which table is the round's. Returns 1, or the first refusal.
local leader, stored = { KEYS[1] }, { unpack(KEYS, 2) }
local name, digest, round = ARGV[1], ARGV[2], ARGV[3]

local function try()
  -- What enlarges memory comes first: a server without any asks before a script's first change only.
  acquire(leader, { name, '60000' })
  release(leader, { name })
  acquire(leader, { name, '60000' })
  renew(leader, { name, '60000' })
  local read = load(stored, { '1', '1' }) -- there is nothing
  if read.err then
    error(read, 0)
  end
  apply(KEYS, { name, '0', digest, round, '60000', 'put', round, 'field', 'value' })
  apply(KEYS, { name, '1', digest, round, '0', 'delete', round, 'field' })
  reset(KEYS, { name, '2', round, 'field', 'value' })
end

local done, refusal = pcall(try)
pcall(redis.call, 'DEL', unpack(KEYS))
if done then
  return 1
end
return type(refusal) == 'table' and refusal or redis.error_reply(refusal)
