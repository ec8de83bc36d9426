output "storage" {
  description = "What the federation file says under `storage` of this site."
  value       = { kind = "s3", url = "s3://${aws_s3_bucket.site.bucket}/site", endpoint = "https://${vultr_object_storage.site.s3_hostname}" }
}

output "storage_key" {
  description = "`key:` and `secret:` of the file that `storage.key_file` names. It is in Terraform's state: guard that as the key itself."
  value       = { key = vultr_object_storage.site.s3_access_key, secret = vultr_object_storage.site.s3_secret_key }
  sensitive   = true
}

output "transit_mount" {
  description = "The mount of the key connector `vault`."
  value       = vault_mount.transit.path
}

output "agent_role_id" {
  description = "The agent's AppRole; ask OpenBao for its secret id where the agent runs."
  value       = vault_approle_auth_backend_role.agent.role_id
}
