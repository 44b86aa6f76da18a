-- The speculative write. KEYS: the bucket. ARGV: now (ms), 1 if it is bypassed, then each limit with its
-- amount. Returns nothing without a bucket, else its fields and values, and one element more if it was
-- written.
local image = redis.call('HGETALL', KEYS[1])
local n = #image
if n == 0 then return false end
local at = {}
for i = 1, n, 2 do at[image[i]] = i + 1 end

local now = tonumber(ARGV[1])
local bypass, vu, ttl, wcu = at.by, at.vu, at.ttl, at['tk:wcu']
local live = bypass and tonumber(image[bypass]) > now
if at.dis or ttl and tonumber(image[ttl]) <= math.floor(now / 1000) or not wcu or less(image[wcu], '1000') then return image end
local bypassed = ARGV[2] == '1'
if bypassed then
  if not live then return image end
elseif not live then
  if bypass or vu and tonumber(image[vu]) <= now then return image end
end
local last = #ARGV
if not bypassed then
  for i = 3, last, 2 do
    local name = ARGV[i]
    local tk, soft = at['tk:' .. name], at['so:' .. name]
    if soft and tonumber(image[soft]) <= now then return image end
    local free = live or soft and tk and at['p:' .. name]
    if not free and (not tk or less(image[tk], ARGV[i + 1])) then return image end
  end
end

-- Small sums are made here and written together; large ones are the server's.
local set, large = {}, {}
local function add(field, sign, amount)
  local i = at[field]
  if not i then
    i = n + 2
    image[n + 1], image[i], at[field] = field, '0', i
    n = i
  end
  local old = image[i]
  if #old < 16 and #amount < 16 then
    image[i] = string.format('%.0f', tonumber(old) + sign * tonumber(amount))
    set[#set + 1] = field
    set[#set + 1] = image[i]
    return true
  end
  if far(old) or far(amount) then return false end
  if sign < 0 and amount ~= '0' then amount = '-' .. amount end
  large[#large + 1] = field
  large[#large + 1] = amount
  return true
end

for i = 3, last, 2 do
  local name, amount = ARGV[i], ARGV[i + 1]
  if not bypassed and not add('tk:' .. name, -1, amount) then return toofar('tk:' .. name) end
  if not add('tc:' .. name, 1, amount) then return toofar('tc:' .. name) end
end
if not add('tk:wcu', -1, '1000') or not add('tc:wcu', 1, '1000') then return toofar('wcu') end
if #set > 0 then redis.call('HSET', KEYS[1], unpack(set)) end
for i = 1, #large, 2 do
  redis.call('HINCRBY', KEYS[1], large[i], large[i + 1])
  image[at[large[i]]] = redis.call('HGET', KEYS[1], large[i])
end
image[n + 1] = ''
return image
