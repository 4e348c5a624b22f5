-- KEYS: the hash of records, the stream of changes.
-- Returns the revision, and names and values by turns.
return { newest(KEYS[2]), redis.call('HGETALL', KEYS[1]) }
