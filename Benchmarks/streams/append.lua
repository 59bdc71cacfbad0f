-- Appends of 1 KiB over STREAMS streams, in turn.
local streams = tonumber(os.getenv("STREAMS")) or 64
local body = string.rep("x", 1024)
local count = 0
request = function()
  count = count + 1
  return wrk.format("POST", "/v1/stream/b/" .. (count % streams), { ["content-type"] = "application/octet-stream" }, body)
end
