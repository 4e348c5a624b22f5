-- KEYS: the hash of records, the stream of changes.
-- ARGV: the base, the mark of the new revision, who writes, the subject, how many changes to keep; then by threes: put
-- or remove, the name, the value.
-- Returns what happened (conflict, same, done), and the revision of the store then.
local at = newest(KEYS[2])
if at ~= ARGV[1] then
  return { 'conflict', at }
end
local changes = {}
for i = 6, #ARGV, 3 do
  local wanted = ARGV[i] == 'put' and ARGV[i + 2]
  if redis.call('HGET', KEYS[1], ARGV[i + 1]) ~= wanted then
    changes[#changes + 1] = { name = ARGV[i + 1], wanted = wanted }
  end
end
if #changes == 0 then
  return { 'same', at }
end
local entry = { KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'mark', ARGV[2], 'by', ARGV[3], 'subject', ARGV[4] }
-- The first entry says so, else who has seen the empty store could not tell whether older ones were dropped.
if redis.call('EXISTS', KEYS[2]) == 0 then
  entry[#entry + 1], entry[#entry + 2] = 'first', '1'
end
for _, change in ipairs(changes) do
  entry[#entry + 1], entry[#entry + 2] = 'key', change.name
end
-- The entry comes first: should the server refuse a later command, there is a revision too many, never one too few.
local id = redis.call('XADD', unpack(entry))
for _, change in ipairs(changes) do
  if change.wanted then
    redis.call('HSET', KEYS[1], change.name, change.wanted)
  else
    redis.call('HDEL', KEYS[1], change.name)
  end
end
return { 'done', id .. '/' .. ARGV[2] }
