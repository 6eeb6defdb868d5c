-- Take the lease, or prolong our own.
-- KEYS[1] leader; ARGV[1] our name, ARGV[2] milliseconds. Returns 1 if we hold it now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
