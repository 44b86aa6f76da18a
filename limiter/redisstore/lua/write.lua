-- Conditional writes of several keys, all or none. ARGV: 1 to be told what the first key held; then for each
-- key the number of its clauses, each with the number of its tests (operator, field, value), one of which
-- must hold; and the number of its updates (operator, field, value). Returns 1, or an array: 1 if written,
-- else 0; what the first key held if asked; else for each key its fields and values if a clause
-- failed, and 0 if none did.
local function holds(image, at, op, field, value)
  if op == 'N' then return #image == 0 end
  if op == 'E' then return #image > 0 end
  local i = at[field]
  if op == 'a' then return not i end
  if not i then return false end
  local is = image[i]
  if op == 'e' then return true end
  if op == '=' then return is == value end
  if op == '!' then return is ~= value end
  if op == '<' then return less(is, value) end
  if op == 'l' then return not less(value, is) end
  if op == 'g' then return not less(is, value) end
  if op == 'b' then return string.sub(is, 1, #value) == value end
  error('unknown test ' .. op)
end

local want, p, held = ARGV[1] == '1', 2, true
local images, ats, starts, reply = {}, {}, {}, {}
for k = 1, #KEYS do
  local clauses = tonumber(ARGV[p])
  p = p + 1
  local image, at, ok = {}, {}, true
  if clauses > 0 or want and k == 1 then
    image = redis.call('HGETALL', KEYS[k])
    for i = 1, #image, 2 do at[image[i]] = i + 1 end
  end
  for _ = 1, clauses do
    local tests, any = tonumber(ARGV[p]), false
    p = p + 1
    for _ = 1, tests do
      any = any or holds(image, at, ARGV[p], ARGV[p + 1], ARGV[p + 2])
      p = p + 3
    end
    ok = ok and any
  end
  images[k], ats[k], starts[k] = image, at, p
  p = p + 1 + 3 * tonumber(ARGV[p])
  held = held and ok
  reply[k + 1] = ok and 0 or image
end
if not held then
  reply[1] = 0
  if want then return { 0, images[1] } end
  return reply
end
for k = 1, #KEYS do
  local image, at = images[k], ats[k]
  for u = starts[k] + 1, starts[k] + 3 * tonumber(ARGV[starts[k]]), 3 do
    local i = at[ARGV[u + 1]]
    if ARGV[u] == 'i' and (far(ARGV[u + 2]) or i and far(image[i])) then return toofar(ARGV[u + 1]) end
  end
end

for k = 1, #KEYS do
  local key, image, at = KEYS[k], images[k], ats[k]
  local set, del, expire, persist = {}, {}, false, false
  for u = starts[k] + 1, starts[k] + 3 * tonumber(ARGV[starts[k]]), 3 do
    local op, field, value = ARGV[u], ARGV[u + 1], ARGV[u + 2]
    if op == 's' or op == 'c' then
      if op == 'c' then value = at[value] and image[at[value]] or '0' end
      set[#set + 1] = field
      set[#set + 1] = value
    elseif op == 'o' then
      if not at[field] then
        set[#set + 1] = field
        set[#set + 1] = image[at[value]]
      end
    elseif op == 'd' then del[#del + 1] = field
    elseif op == 'i' then redis.call('HINCRBY', key, field, value)
    elseif op == 'x' then expire = value
    elseif op == 'p' then persist = true
    elseif op == 'D' then redis.call('DEL', key)
    elseif op == 'S' then redis.call('SADD', key, field)
    elseif op == 'r' then redis.call('SREM', key, field)
    elseif op == 'Z' then redis.call('ZADD', key, value, field)
    elseif op == 'z' then redis.call('ZREM', key, field)
    elseif op == 'w' then redis.call('ZREMRANGEBYSCORE', key, '-inf', value)
    elseif op == 'y' then redis.call('ZREMRANGEBYLEX', key, '-', value)
    else error('unknown update ' .. op) end
  end
  -- A field that is set and deleted is deleted.
  if #set > 0 then redis.call('HSET', key, unpack(set)) end
  if #del > 0 then redis.call('HDEL', key, unpack(del)) end
  -- The key is there by now.
  if expire then redis.call('EXPIREAT', key, expire) end
  if persist then redis.call('PERSIST', key) end
end
if want then return { 1, images[1] } end
return 1
