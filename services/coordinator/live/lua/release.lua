-- Give the lease up if it is ours. KEYS[1] leader; ARGV[1] our name.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
