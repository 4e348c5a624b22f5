-- Returns the revision that an entry of the stream makes: its id, and the mark that its writer drew.
local function revision(entry)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'mark' and fields[i + 1]:find('^%x+$') then
      return entry[1] .. '/' .. fields[i + 1]
    end
  end
  return entry[1] .. '/'
end

-- Returns the revision of the store.
local function newest(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and revision(entry) or 'empty'
end

