-- Health of a BackupVerificationSession for Argo CD; the same facts that kstatus goes by (observedGeneration, Stalled, Ready).
--   Healthy      its Snapshot is proven, now or before
--   Degraded     the backup is bad, or nothing was found out and no retry is owed
--   Progressing  it runs, or a retry is owed
local health = { status = "Progressing", message = "waiting for Backproof" }

local status = obj.status
if status == nil then
  return health
end

local generation = obj.metadata.generation
if status.observedGeneration ~= nil and status.observedGeneration ~= generation then
  return health
end

if status.message ~= nil and status.message ~= "" then
  health.message = status.message
end
if status.cause ~= nil and status.cause ~= "" then
  health.message = status.cause .. ": " .. health.message
end

-- CRDs without Backproof's own fields have no verdict, but the same word as the reason of Ready.
local verdict = status.verdict
if verdict == nil and status.conditions ~= nil then
  for _, condition in ipairs(status.conditions) do
    if condition.type == "Ready" then
      verdict = condition.reason
      health.message = condition.message or health.message
    end
  end
end

if status.phase == "Succeeded" or status.phase == "Skipped" then
  health.status = "Healthy"
elseif status.phase == "Failed" then
  local owed = obj.spec ~= nil and obj.spec.retryLeft ~= nil and obj.spec.retryLeft > 0 and status.retried == nil
  if verdict == "Inconclusive" and owed then
    health.message = health.message .. " (it will be repeated)"
  else
    health.status = "Degraded"
  end
end

return health
