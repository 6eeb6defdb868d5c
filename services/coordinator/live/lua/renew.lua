-- Prolong the lease if it is still ours: one that ran out may have had another holder since.
-- KEYS[1] leader; ARGV[1] our name, ARGV[2] milliseconds. Returns 1 if we hold it now.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
