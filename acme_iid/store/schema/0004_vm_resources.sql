-- The resource id that a managed identity token gave an Azure VM at its first use: the token has no vmId, and the
-- attested document no resource, so the pair is believed once and held afterwards.
ALTER TABLE instances ADD COLUMN resource_id TEXT;

CREATE UNIQUE INDEX instances_by_resource ON instances (resource_id);
