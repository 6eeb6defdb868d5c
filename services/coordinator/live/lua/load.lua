-- Read everything at one instant, whoever wrote it. KEYS: op, then the tables.
-- ARGV: most fields of a table, most bytes of a table with its fields' names.
-- Returns {op_seq, table, table, ...}: {op_seq}, and each table a flat list of fields and values; or
-- in its place a string: why it cannot be had.
local found = {}
for i = 1, #KEYS do
  local reply
  if i == 1 then
    reply = redis.pcall('HMGET', KEYS[i], 'seq')
  else
    reply = redis.pcall('HGETALL', KEYS[i])
  end
  if reply.err then
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then
      return reply
    end
    found[i] = 'it is of another type'
  elseif i == 1 then
    local seq = reply[1] or '0'
    local is_count = #seq <= 15 and string.find(seq, '^%d+$') -- exact as a double, too
    found[i] = is_count and { seq } or 'seq is no count of changes'
  else
    local bytes = 0
    for _, word in ipairs(reply) do
      bytes = bytes + #word
    end
    found[i] = reply
    if #reply > 2 * tonumber(ARGV[1]) then
      found[i] = 'it has ' .. #reply / 2 .. ' fields, at most ' .. ARGV[1] .. ' are read'
    elseif bytes > tonumber(ARGV[2]) then
      found[i] = 'it has ' .. bytes .. ' bytes, at most ' .. ARGV[2] .. ' are read'
    end
  end
end
return found
