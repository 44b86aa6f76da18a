-- Numbers are decimal texts: those of Lua are exact up to 2^53 only, and a balance may be larger.
local function less(a, b)
  local la, lb = #a, #b
  if la < 16 and lb < 16 then return tonumber(a) < tonumber(b) end
  local na, nb = string.byte(a) == 45, string.byte(b) == 45
  if na ~= nb then return na end
  if na then a, b, la, lb = b, a, lb, la end
  if la ~= lb then return la < lb end
  return a < b
end

-- Two numbers that are not far have a sum of 64 bits.
local function far(s)
  if #s < 19 then return false end
  if string.byte(s) == 45 then s = string.sub(s, 2) end
  return #s > 19 or #s == 19 and s > '4000000000000000000'
end

local function toofar(field)
  return redis.error_reply('ERR ' .. field .. ' of ' .. KEYS[1] .. ' or what is added to it is beyond 4*10^18 millitokens')
end
