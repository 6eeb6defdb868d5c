-- Make all changes or none: a compare-and-set on (leader, op_seq).
-- KEYS: leader, op, then the tables.
-- ARGV: our name, expected op_seq, digest of the changes, which table is the round's, its life in
--   milliseconds (0 = for ever, -1 = as before); then per change
--   'put', table, field, value | 'delete', table, field. Tables are counted from 1.
-- Returns {1, new op_seq}, or {0, who leads, op_seq found} and changes nothing; an op_seq that is no
-- number is -1.
local holder = redis.call('GET', KEYS[1]) or ''
local op = redis.call('HMGET', KEYS[2], 'seq', 'digest')
local seq, expected = tonumber(op[1] or '0') or -1, tonumber(ARGV[2])
if holder ~= ARGV[1] then
  return { 0, holder, seq }
end
if seq == expected + 1 and op[2] == ARGV[3] then
  return { 1, seq } -- made before; only the answer was lost
end
if seq ~= expected then
  return { 0, holder, seq }
end

local at = 6
while at <= #ARGV do
  local key = KEYS[2 + tonumber(ARGV[at + 1])]
  if ARGV[at] == 'put' then
    redis.call('HSET', key, ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  else
    redis.call('HDEL', key, ARGV[at + 2])
    at = at + 3
  end
end

local round, life = KEYS[2 + tonumber(ARGV[4])], tonumber(ARGV[5])
if life > 0 then
  redis.call('PEXPIRE', round, life)
elseif life == 0 then
  redis.call('PERSIST', round)
end
redis.call('HSET', KEYS[2], 'seq', expected + 1, 'digest', ARGV[3])
return { 1, expected + 1 }
