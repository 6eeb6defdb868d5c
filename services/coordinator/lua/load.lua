-- Read everything at one instant. KEYS: op, then the tables.
-- Returns {op_seq, table, table, ...}, each table a flat list of fields and values.
local found = { redis.call('HGET', KEYS[1], 'seq') or '0' }
for i = 2, #KEYS do
  found[i] = redis.call('HGETALL', KEYS[i])
end
return found
