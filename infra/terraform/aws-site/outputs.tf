output "storage" {
  description = "What the federation file says under `storage` of this site."
  value       = { kind = "s3", url = "s3://${aws_s3_bucket.site.bucket}/site", region = data.aws_region.this.name }
}

output "kms_key_arn" {
  description = "The key of the connector `aws`."
  value       = aws_kms_key.site.arn
}

output "agent_role_arn" {
  description = "Annotation eks.amazonaws.com/role-arn of the agent's service account."
  value       = aws_iam_role.agent.arn
}
