-- Fields and values of each of KEYS, as they are at one moment.
local images = {}
for i = 1, #KEYS do images[i] = redis.call('HGETALL', KEYS[i]) end
return images
