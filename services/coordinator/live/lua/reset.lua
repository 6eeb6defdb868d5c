-- Replace everything, whoever wrote what is there. KEYS: leader, op, then the tables.
-- ARGV: our name, the highest op_seq that we saw; then per field: table, field, value.
-- Returns {1, new op_seq}, or {0, who leads} and changes nothing.
local holder = redis.call('GET', KEYS[1]) or ''
if holder ~= ARGV[1] then
  return { 0, holder }
end
local found = redis.pcall('HGET', KEYS[2], 'seq') -- of another type: an error, and no number
if type(found) ~= 'string' or not string.find(found, '^%d+$') or #found > 15 then
  found = '0'
end
local seq = math.max(tonumber(found), tonumber(ARGV[2])) + 1
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
end
for at = 3, #ARGV, 3 do
  redis.call('HSET', KEYS[2 + tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
redis.call('HSET', KEYS[2], 'seq', seq)
return { 1, seq }
