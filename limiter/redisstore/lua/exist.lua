-- 1 for each of KEYS that is there, else 0.
local there = {}
for i = 1, #KEYS do there[i] = redis.call('EXISTS', KEYS[i]) end
return there
