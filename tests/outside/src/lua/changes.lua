-- KEYS: the hash of records, the stream of changes.
-- ARGV: the revision after which changes are wanted, its id (0-0 for the empty store), the longest value of a record,
-- the longest name, and 1 where all that may be no record is wanted as well.
-- Returns the revision of the store, what was found (same, gone, changed), names and values by turns of what changed,
-- and names and lengths by turns of what may be no record.
local at = newest(KEYS[2])
if at == ARGV[1] then
  return { at, 'same', {}, {} }
end
local known
if ARGV[1] == 'empty' then
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  for i, field in ipairs(first and first[2] or {}) do
    known = known or i % 2 == 1 and field == 'first'
  end
else
  local entry = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2])[1]
  known = entry and revision(entry) == ARGV[1]
end
if not known then
  return { at, 'gone', {}, {} }
end
local changed, seen = {}, {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[2], '+')) do
  local fields = entry[2]
  for i = 1, #fields, 2 do
    local name = fields[i + 1]
    if fields[i] == 'key' and not seen[name] then
      seen[name] = true
      changed[#changed + 1], changed[#changed + 2] = name, redis.call('HGET', KEYS[1], name)
    end
  end
end
local odd = {}
if ARGV[5] == '1' then
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    local length = redis.call('HSTRLEN', KEYS[1], name)
    if length > tonumber(ARGV[3]) or #name > tonumber(ARGV[4]) or not name:find('^[%w:][%w.:_-]*$') then
      odd[#odd + 1], odd[#odd + 2] = name, length
    end
  end
end
return { at, 'changed', changed, odd }
